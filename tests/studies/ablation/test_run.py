"""An ablation on the digits from start to report, as the command runs it; interrupted, changed, with a failing row."""

import json
from dataclasses import replace

import pytest

from hybridvit.cli import DONE, WRONG, main
from hybridvit.recipe_file import read_recipe
from hybridvit.studies.conduct import conduct
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.report.study_report import write_report
from hybridvit.tasks.regression import RegressionConfig

RECIPE = """
from dataclasses import replace

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.ablation.study import Ablation
from hybridvit.studies.study import LaunchConfig
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")


def study():
    base = Recipe(
        name="tiny",
        model=VIT,
        augment=AugmentConfig(crop_padding=1),
        tasks={"label": ClassificationConfig(), "ink": RegressionConfig(target="ink")},
        train=TrainConfig(steps=2, batch_size=8, ema=0.5),
    )
    return Ablation(
        title="Tiny?",
        base=base,
        without={
            "shifts": replace(base, augment=AugmentConfig()),
            "EMA": replace(base, train=replace(base.train, ema=None)),
            "another / task": replace(base, tasks={"label": ClassificationConfig()}),
        },
        seeds=2,
        launch=LaunchConfig(backend="sequential"),
    )
"""


def write(study, folder, outcome, command=""):
    """The page of a study with this outcome; None where there is nothing to report."""
    outcome = write_report(study, replace(outcome, folder=folder), command)
    return folder.path / "report.html" if outcome.report is not None else None


class Recorder:
    """A display that remembers."""

    def __init__(self, stop_after=None):
        self.ran, self.stop_after = [], stop_after

    def stage(self, name, total, done, workers):
        pass

    def started(self, cell):
        pass

    def ended(self, cell, result):
        self.ran.append(str(cell))
        if len(self.ran) == self.stop_after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ablation") / "tiny.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def finished(file):
    """The command, after a start that was interrupted at the fourth run."""
    study, out = read_recipe(file, "study"), file.parent / "out"
    interrupted = Recorder(stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        conduct(study, StudyFolder(out, study), interrupted)
    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert main(["study", str(file), "--out", str(out)]) == DONE
    return study, out, kept


def test_it_goes_on_where_it_was_interrupted(finished):
    study, out, kept = finished
    assert len(kept) == 4
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert {path.stem for path in (out / "cells").iterdir()} == {cell.key for cell in study.cells({})}


def test_the_report_and_its_tables_are_there(finished):
    _, out, _ = finished
    assert {"report.html", "study.json", "study.yaml", "table.csv", "runs.csv", "effect.png"} <= {
        path.name for path in out.iterdir()
    }
    summary = json.loads((out / "study.json").read_text())
    assert summary["command"].startswith("hybridvit study ")
    assert set(summary["without"]) == {"shifts", "EMA", "another / task"}
    assert (
        summary["without"]["another / task"]["params"]
        < summary["base"]["params"]
        == summary["without"]["EMA"]["params"]
    )
    assert summary["base"]["seeds"] == [0, 1]
    assert summary["train_images"] + summary["test_images"] == 1797  # no validation share is set apart


def test_the_table_is_printed(finished, file, capsys):
    assert main(["study", str(file), "--out", str(finished[1])]) == DONE
    printed = capsys.readouterr()
    assert "8 runs, 8 of them done before" in printed.err
    assert "without another / task" in printed.err
    rows = [line.split("  ")[0] for line in printed.out.splitlines()[:5]]
    assert (rows[0], rows[1], set(rows[2:])) == ("", "everything", {"shifts", "EMA", "another / task"})


def test_runs_of_a_seed_share_data_and_differ_in_the_ingredient(finished):
    cells = [cell for cell in finished[0].cells({}) if cell.seed == 1]
    base = cells[0].recipe
    assert {cell.recipe.seed for cell in cells} == {1}
    assert {cell.recipe.data.stratify for cell in cells} == {"label"}
    for cell in cells:
        assert cell.recipe.data == base.data
        assert cell.recipe.train.steps == base.train.steps
    assert cells[2].recipe == replace(base, train=replace(base.train, ema=None))


def test_another_ingredient_runs_only_what_is_new(finished):
    study, out, _ = finished
    more = replace(
        study, title="More", without={"flat": replace(study.base, optim=replace(study.base.optim, warmup=0.0))}
    )
    recorder = Recorder()
    outcome = conduct(more, StudyFolder(out, more), recorder)
    assert recorder.ran == ["without flat, seed 0", "without flat, seed 1"]
    assert len(outcome.results) == 2 * 2


def test_a_row_that_fails_does_not_sink_the_rest(finished, tmp_path):
    study, *_ = finished
    broken = replace(study.base, tasks={**study.base.tasks, "x": RegressionConfig(target="no_such_column")})
    study = replace(study, without={"broken": broken, "EMA": study.without["EMA"]}, seeds=1)
    folder = StudyFolder(tmp_path / "out", study)
    outcome = conduct(study, folder, Recorder())
    assert [str(cell) for cell, _ in outcome.failed] == ["without broken, seed 0"]
    assert len(list((folder.path / "cells").glob("*.failed.txt"))) == 1
    text = write(study, folder, outcome, "").read_text(encoding="utf-8")
    assert "1 run failed" in text
    assert list(json.loads((folder.path / "study.json").read_text())["without"]) == ["EMA"]


def test_a_row_that_does_not_fit_is_refused_before_anything_runs(file, tmp_path, capsys):
    text = file.read_text().replace('RegressionConfig(target="ink")', 'RegressionConfig(target="inq")')
    (tmp_path / "wrong.py").write_text(text)
    assert main(["study", str(tmp_path / "wrong.py"), "--out", str(tmp_path / "out")]) == WRONG
    assert "inq" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_test_images_there_is_nothing_to_judge_by(file, tmp_path, capsys):
    assert main(["study", str(file), "--out", str(tmp_path / "out"), "--base.data.test", "0"]) == WRONG
    assert "data.test is 0" in capsys.readouterr().err


def test_a_folder_of_another_study_is_refused(finished, tmp_path):
    study = finished[0]
    (tmp_path / "study.yaml").write_text("title: something else\n")
    with pytest.raises(ValueError, match="already holds another study"):
        StudyFolder(tmp_path, study)
