"""A tiny study from start to report: resumed, interrupted, with a failing model."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.studies import launch
from hybridvit.studies.ablation.study import Ablation
from hybridvit.studies.conduct import conduct
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.learning_curve.report import lines
from hybridvit.studies.learning_curve.study import Study, Variant
from hybridvit.studies.learning_curve.table import tabulate
from hybridvit.studies.report.study_report import write_report
from hybridvit.studies.study import LaunchConfig
from hybridvit.studies.time_limit import TimeLimit
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")
STUDY = Study(
    title="Is this <question> escaped?",
    base=Recipe(name="tiny", model=VIT, train=TrainConfig(steps=3, batch_size=8, log_every=1)),
    models={"ResNet": ResNetConfig(depths=(1,), width=6), "ConViT": replace(VIT, attention=("gpsa",)), "ViT": VIT},
    reference="ViT",
    train_sizes=(30, 70),
    seeds=3,
    launch=LaunchConfig(backend="sequential"),
)


def write(study, folder, outcome, command=""):
    """The page of a study with this outcome; None where there is nothing to report."""
    outcome = write_report(study, replace(outcome, folder=folder), command)
    return folder.path / "report.html" if outcome.report is not None else None


class Recorder:
    """A display that remembers."""

    def __init__(self, stop_after=None):
        self.ran, self.stages, self.stop_after = [], [], stop_after

    def stage(self, name, total, done, workers):
        self.stages.append((name, total, done))

    def started(self, cell):
        pass

    def ended(self, cell, result):
        self.ran.append(cell.key)
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The study, interrupted after five runs and then gone on with."""
    path = tmp_path_factory.mktemp("study") / "out"
    interrupted, resumed = Recorder(stop_after=5), Recorder()
    with pytest.raises(KeyboardInterrupt):
        conduct(STUDY, StudyFolder(path, STUDY), interrupted)
    folder = StudyFolder(path, STUDY)
    outcome = conduct(STUDY, folder, resumed)
    page = write(STUDY, folder, outcome, "hybridvit study tiny.py")
    return folder, outcome, page, interrupted, resumed


def test_no_cell_runs_twice(finished):
    _, outcome, _, interrupted, resumed = finished
    assert not set(interrupted.ran) & set(resumed.ran)
    assert set(interrupted.ran) | set(resumed.ran) == set(outcome.results)
    assert len(outcome.results) == 3 * 2 * 3
    assert resumed.stages == [("runs", 18, 5)]


def test_more_seeds_go_on_in_the_same_folder(finished, tmp_path):
    copy = shutil.copytree(finished[0].path, tmp_path / "out")
    more, recorder = replace(STUDY, seeds=4), Recorder()
    outcome = conduct(more, StudyFolder(copy, more), recorder)
    assert len(outcome.results) == 4 * 2 * 3
    assert recorder.stages == [("runs", 24, 18)]
    assert len(recorder.ran) == 6


def test_another_size_runs_only_what_is_new(finished, tmp_path):
    copy = shutil.copytree(finished[0].path, tmp_path / "out")
    more, recorder = replace(STUDY, title="Another title", train_sizes=(30, 70, 90)), Recorder()
    outcome = conduct(more, StudyFolder(copy, more), recorder)
    assert recorder.stages == [("runs", 27, 18)]
    assert len(outcome.results) == 27
    assert {result["train_images"] for key, result in outcome.results.items() if key in recorder.ran} == {90}


def test_report_is_one_file_that_needs_no_network(finished):
    text = finished[2].read_text(encoding="utf-8")
    for outside in ("src=", "<link", "<script", "@import", "url(http"):
        assert outside not in text
    assert "Is this &lt;question&gt; escaped?" in text
    assert "hybridvit study tiny.py" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert text.count("<svg") == 2 * 3  # curves, equivalence and gates, light and dark


def test_report_files_agree(finished):
    folder, outcome, *_ = finished
    summary = json.loads((folder.path / "study.json").read_text())
    table = tabulate(STUDY, outcome.results)
    assert summary["accuracy"]["ViT"] == table.accuracy["ViT"].tolist()
    assert len((folder.path / "runs.csv").read_text().splitlines()) == 1 + 18
    rows = (folder.path / "table.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * 2
    assert rows[-1].startswith("ViT,70,3,")
    for name in ("learning_curves", "equivalence", "gates_ConViT"):
        assert (folder.path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def with_accuracies(outcome, accuracies, **more):
    """The outcome as if its runs had found these: model -> accuracy by size, a little other in every seed."""
    results = {}
    for cell in STUDY.cells({}):
        accuracy = accuracies[cell.arm[0]][STUDY.train_sizes.index(cell.arm[1])] + 0.001 * cell.seed
        results[cell.key] = {**outcome.results[cell.key], "test": {"label": {"accuracy": accuracy}}, **more}
    return replace(outcome, results=results)


def test_where_one_model_overtakes_another_is_reported(finished, tmp_path):
    """Errors of 0.3 and 0.2 against 0.4 and 0.1: level where both are 0.3·(2/3)^x = 0.4·(1/4)^x."""
    found = with_accuracies(finished[1], {"ResNet": (0.7, 0.8), "ConViT": (0.6, 0.9), "ViT": (0.2, 0.3)})
    folder = StudyFolder(tmp_path / "out", STUDY)
    folder.start()
    text = write(STUDY, folder, found, "").read_text(encoding="utf-8")
    (crossing,) = json.loads((folder.path / "study.json").read_text())["crossovers"]
    assert (crossing["ahead"], crossing["behind"]) == ("ConViT", "ResNet")
    share = np.log(4 / 3) / np.log(8 / 3)
    assert crossing["images"] == pytest.approx(30 * (70 / 30) ** share, rel=0.01)
    assert crossing["interval"][0] <= crossing["images"] <= crossing["interval"][1]
    assert "<td>ConViT overtakes ResNet</td><td>38 images<small>" in text


def test_a_crossing_that_the_seeds_do_not_resolve_is_named_without_a_number(finished, tmp_path):
    found = with_accuracies(finished[1], {"ResNet": (0.7, 0.8), "ConViT": (0.6, 0.9), "ViT": (0.2, 0.3)})
    noise = dict(zip(range(3), (0.09, -0.08, -0.01), strict=True))
    for cell in STUDY.cells({}):
        if cell.arm[0] == "ConViT":
            found.results[cell.key]["test"]["label"]["accuracy"] += noise[cell.seed]
    folder = StudyFolder(tmp_path / "out", STUDY)
    folder.start()
    text = write(STUDY, folder, found, "").read_text(encoding="utf-8")
    summary = json.loads((folder.path / "study.json").read_text())
    assert summary["crossovers"] == []
    assert summary["unresolved_crossovers"] == [{"ahead": "ConViT", "behind": "ResNet"}]
    assert "The mean curves of ConViT and ResNet cross too, but where is not resolved by these seeds." in text
    assert "ConViT overtakes" not in text


def test_a_factor_beyond_the_sizes_is_a_bound_everywhere(finished, tmp_path):
    """Errors of 0.3 and 0.2 against the ViT's 0.8 and 0.7: 70 images are 2.3 times 30."""
    found = with_accuracies(finished[1], {"ResNet": (0.7, 0.8), "ConViT": (0.1, 0.25), "ViT": (0.2, 0.3)})
    folder = StudyFolder(tmp_path / "out", STUDY)
    folder.start()
    text = write(STUDY, folder, found, "").read_text(encoding="utf-8")
    factors = json.loads((folder.path / "study.json").read_text())["equivalence"]
    beyond = {"factor": None, "interval": [pytest.approx(7 / 3), None], "bound": "at least"}
    assert {key: factors["ResNet"][key] for key in beyond} == beyond
    assert factors["ResNet"]["by_size"][0] == beyond
    assert factors["ResNet"]["shared_errors"] is None
    assert factors["ConViT"]["shared_errors"] == pytest.approx([0.749, 0.799])
    assert factors["ConViT"]["bound"] is None
    assert "<b>ResNet</b><strong>more than 2.3×</strong>" in text
    assert "the two curves have no error in common, so this is a bound" in text
    assert "rests on the errors that both reach, 74.9 to 79.9 %" in text
    rows = {
        row["model"]: row for row in csv.DictReader((folder.path / "table.csv").open()) if row["train_images"] == "30"
    }
    columns = [f"equivalence{at}{end}" for at in ("_at_size", "") for end in ("", "_low", "_high", "_bound")]
    assert [rows["ResNet"][column] for column in columns] == ["", "2.3333", "", "at least"] * 2
    assert [rows["ViT"][column] for column in columns] == ["1.0", "1.0", "1.0", ""] * 2
    printed = lines(STUDY, tabulate(STUDY, found.results))
    assert printed[1].endswith("more than 2.3×")


def test_curves_that_do_not_cross_are_not_mentioned(finished, tmp_path):
    found = with_accuracies(finished[1], {"ResNet": (0.7, 0.9), "ConViT": (0.6, 0.8), "ViT": (0.2, 0.3)})
    folder = StudyFolder(tmp_path / "out", STUDY)
    folder.start()
    assert "overtakes" not in write(STUDY, folder, found, "").read_text(encoding="utf-8")
    assert json.loads((folder.path / "study.json").read_text())["crossovers"] == []


def test_what_only_some_runs_measure_has_columns_of_its_own(finished, tmp_path):
    study = replace(STUDY, base=replace(STUDY.base, tta=True))
    accuracies = {"ResNet": (0.7, 0.9), "ConViT": (0.6, 0.8), "ViT": (0.2, 0.3)}
    more = {"test_tta": {"label": {"accuracy": 0.875}}, "joules": {"train": 4321.0}}
    ours = with_accuracies(finished[1], accuracies, **more).results
    cells = STUDY.cells({}), study.cells({})
    found = replace(finished[1], results={new.key: ours[old.key] for old, new in zip(*cells, strict=True)})
    folder = StudyFolder(tmp_path / "out", study)
    folder.start()
    text = write(study, folder, found, "").read_text(encoding="utf-8")
    runs = json.loads((folder.path / "study.json").read_text())["runs"]
    assert len(runs) == 18
    assert {run["test_accuracy_tta"] for run in runs} == {0.875}
    assert {run["train_joules"] for run in runs} == {4321.0}
    assert all(0 < run["train_seconds"] <= run["seconds"] for run in runs)
    assert "<th>test accuracy with test-time augmentation, %</th><th>kJ of training</th>" in text
    assert "<td>87.5</td><td>4.3</td>" in text
    assert "mirror images" not in finished[2].read_text(encoding="utf-8")


def test_no_significance_from_three_seeds(finished):
    text = finished[2].read_text(encoding="utf-8")
    assert "too few to claim significance" in text
    assert "p =" not in text


def test_results_are_paired_by_seed(finished):
    _, outcome, *_ = finished
    cells = STUDY.cells({})
    for cell in cells:
        assert outcome.results[cell.key]["seed"] == cell.seed
        assert outcome.results[cell.key]["train_images"] == cell.arm[1]


def test_a_failed_cell_is_reported_and_does_not_sink_the_rest(tmp_path):
    study = replace(STUDY, models={**STUDY.models, "Broken": ResNetConfig(depths=(1, 1, 1, 1, 1), width=4)}, seeds=1)
    folder = StudyFolder(tmp_path / "out", study)
    outcome = conduct(study, folder, Recorder())
    assert {cell.arm[0] for cell, _ in outcome.failed} == {"Broken"}
    assert "smaller than the stride" in outcome.failed[0][1]
    assert len(outcome.results) == 3 * 2
    assert len(list((folder.path / "cells").glob("*.failed.txt"))) == 2
    assert write(study, folder, outcome, "") is None  # not one seed is complete for all models


def test_a_folder_with_another_study_is_refused_and_left_alone(finished):
    folder = finished[0]
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    other = Ablation(title="q", base=STUDY.base, without={"x": replace(STUDY.base, whitening_init=True)})
    with pytest.raises(ValueError, match="already holds another study"):
        StudyFolder(folder.path, other)
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before


def test_a_curve_of_something_that_is_no_class_is_refused():
    tasks = {"ink": RegressionConfig(target="ink"), "label": ClassificationConfig()}
    with pytest.raises(ValueError, match="ink is a regression: name a classification first"):
        replace(STUDY, base=replace(STUDY.base, tasks=tasks))


def test_the_first_of_several_tasks_is_what_a_curve_is_about(tmp_path):
    tasks = {"even": ClassificationConfig(target="even"), "label": ClassificationConfig()}
    study = replace(STUDY, base=replace(STUDY.base, tasks=tasks), models={"ViT": VIT}, train_sizes=(30,), seeds=1)
    folder = StudyFolder(tmp_path / "out", study)
    outcome = conduct(study, folder, Recorder())
    (result,) = outcome.results.values()
    table = tabulate(study, outcome.results)
    assert table.accuracy["ViT"][0, 0] == result["test"]["even"]["accuracy"]
    assert "even (classification" in write(study, folder, outcome, "").read_text(encoding="utf-8")


def test_where_it_runs_is_no_part_of_a_study(finished):
    StudyFolder(finished[0].path, replace(STUDY, launch=LaunchConfig(backend="loky", workers=2)))
    assert "sequential" not in (finished[0].path / "study.yaml").read_text()


def test_processes_give_the_same_results(finished):
    """Two processes against this one, to the last bit."""
    outcome = finished[1]
    cells = STUDY.cells({})[:4]
    results = {
        c.key: result for c, result in launch.launch(cells, LaunchConfig(workers=2), lambda cell: None, TimeLimit(None))
    }
    for key, result in results.items():
        assert result["history"]["loss"] == outcome.results[key]["history"]["loss"]
    assert len(results) == 4


def test_stopping_early_does_not_wait_for_the_rest(finished):
    """Whoever takes one result and leaves, as Ctrl-C does, gets the processes back at once."""
    cells = STUDY.cells({})[:6]
    results = launch.launch(cells, LaunchConfig(workers=2), lambda cell: None, TimeLimit(None))
    cell, _ = next(results)
    results.close()
    assert cell in cells
    assert len(list(launch.launch(cells[:1], LaunchConfig(workers=1), lambda cell: None, TimeLimit(None)))) == 1


@pytest.mark.parametrize("backend", ["ray", "dask"])
def test_a_cluster_gives_the_same_results(finished, backend):
    pytest.importorskip({"ray": "ray", "dask": "distributed"}[backend])
    outcome = finished[1]
    cells = STUDY.cells({})[:3]
    ended = launch.launch(cells, LaunchConfig(backend=backend, workers=2), lambda cell: None, TimeLimit(None))
    results = {cell.key: result for cell, result in ended}
    assert len(results) == 3
    for key, result in results.items():
        assert result["history"]["loss"] == outcome.results[key]["history"]["loss"]


def test_kept_runs_can_be_diagnosed(finished, tmp_path):
    """Asked for after the study is finished, the runs of one seed are trained again, with the same results."""
    copy = shutil.copytree(finished[0].path, tmp_path / "out")
    keeping, recorder = replace(STUDY, keep=1), Recorder()
    folder = StudyFolder(copy, keeping)
    outcome = conduct(keeping, folder, recorder)
    assert recorder.stages == [("runs", 18, 12)]
    for cell in keeping.cells({}):
        assert outcome.results[cell.key]["test"] == finished[1].results[cell.key]["test"]
        assert folder.run(cell).is_dir() == (cell.seed == 0)
    from hybridvit.runs.loaded_run import load_run

    cell = next(cell for cell in keeping.cells({}) if cell.arm == ("ConViT", 70))
    assert load_run(folder.run(cell)).recipe.model == STUDY.models["ConViT"]
    again = Recorder()
    conduct(keeping, folder, again)
    assert again.ran == []


def test_a_trial_that_diverges_has_an_answer_and_a_reported_run_fails(tmp_path):
    """A learning rate so high that the loss is no number."""
    study = replace(STUDY, learning_rates=(1e-3, 1e30), selection_seeds=1, seeds=1, train_sizes=(30,))
    folder, recorder = StudyFolder(tmp_path / "out", study), Recorder()
    outcome = conduct(study, folder, recorder)
    diverged = [result for result in outcome.results.values() if "diverged" in result]
    assert diverged
    assert all(result["seconds"]["total"] > 0 for result in diverged)
    assert outcome.failed == ()
    assert max(study.chosen_rates(outcome.results).values()) <= 1e-3
    broken = replace(study, learning_rates=(1e30,))
    assert len(conduct(broken, StudyFolder(tmp_path / "broken", broken), Recorder()).failed) == 3


def test_the_report_of_variants_twice_the_steps_and_learning_rates(tmp_path):
    variant = Variant(model=replace(VIT, feedforward="conv"), against="ViT", train_sizes=(30, 70))
    study = replace(
        STUDY,
        steps=(2, 3),
        learning_rates=(1e-3, 2e-3),
        selection_seeds=1,
        variants={"ViT, convolutional": variant},
        double_steps_at=(70,),
        double_steps_seeds=3,
    )
    folder = StudyFolder(tmp_path / "out", study)
    text = write(study, folder, conduct(study, folder, Recorder())).read_text(encoding="utf-8")
    summary = json.loads((folder.path / "study.json").read_text())
    one = summary["variants"]["ViT, convolutional"]
    rows = list(csv.DictReader((folder.path / "variants.csv").open()))
    assert [row["train_images"] for row in rows] == ["30", "70"]
    assert float(rows[0]["difference_points"]) == pytest.approx(one["by_size"]["30"]["mean"], abs=1e-4)
    assert {(row["model"], row["steps"], row["seeds"]) for row in summary["twice_the_steps"]} == {
        (model, 3, 3) for model in study.models
    }
    assert set(summary["learning_rates"]["ViT, convolutional"]) == {"30", "70"}
    assert "ViT, convolutional<small>against ViT</small>" in text
    assert "Do the steps suffice?" in text
    assert "Not trained to the end: twice the steps change" in text
    assert "best at each size" in text
    for name in ("learning_rates_ViT", "learning_curves", "equivalence"):
        for suffix in ("png", "svg", "pdf"):
            assert (folder.path / f"{name}.{suffix}").stat().st_size > 1000
    assert summary["multiply_adds"].keys() == set(study.models)
    assert summary["equivalence"]["ConViT"]["over_images"].keys() == {"factor", "interval", "bound"}


def test_keeping_models_loses_no_result(finished, tmp_path):
    copy = shutil.copytree(finished[0].path, tmp_path / "out")
    keeping = replace(STUDY, keep=3, launch=LaunchConfig(backend="sequential", minutes=1e-9))
    folder = StudyFolder(copy, keeping)
    assert conduct(keeping, folder, Recorder()).results == finished[1].results
    half = folder.run(keeping.cells({})[0])
    half.mkdir(parents=True)
    (half / "recipe.yaml").write_text("interrupted before its first checkpoint")
    assert not folder.is_kept(keeping.cells({})[0])
