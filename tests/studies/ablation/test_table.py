"""An ablation from made-up results: the numbers of its table, worked out by hand."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from hybridvit.backbones import ConvConfig, PatchConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.ablation.report import claim_of, lines, run_rows, table_rows
from hybridvit.studies.ablation.study import EVERYTHING, NOTHING, Ablation
from hybridvit.studies.ablation.table import tabulate
from hybridvit.studies.conduct import Outcome
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.report.study_report import as_csv, write_report
from hybridvit.studies.study import LaunchConfig
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")
STEM = ConvConfig(channels=(6, 12), strides=(2, 2))
BASE = Recipe(
    name="tiny",
    model=replace(VIT, tokenizer=STEM),
    tasks={"label": ClassificationConfig(label_smoothing=0.1)},
    train=TrainConfig(steps=3, batch_size=8, log_every=1, ema=0.9),
)
PLAIN = {"label": ClassificationConfig()}
STUDY = Ablation(
    title="What is <it> worth?",
    base=BASE,
    without={
        "smoothing": replace(BASE, tasks=PLAIN),
        "EMA": replace(BASE, train=replace(BASE.train, ema=None)),
        "stem": replace(BASE, model=VIT),
    },
    baseline=replace(BASE, model=VIT, tasks=PLAIN, train=replace(BASE.train, ema=None)),
    seeds=3,
    launch=LaunchConfig(backend="sequential"),
)
ACCURACY = {  # in 360ths, by seed
    EVERYTHING: (180, 198, 216),
    "without smoothing": (180, 200, 214),
    "without EMA": (216, 198, 252),
    "without stem": (90, 108, 90),
    NOTHING: (18, 36, 54),
}
SECONDS = {EVERYTHING: 20.0, "without smoothing": 20.0, "without EMA": 17.0, "without stem": 30.0, NOTHING: 11.0}
PARAMS = {"without stem": 2300, NOTHING: 2300}


def write(study, folder, outcome, command=""):
    """The page of a study with this outcome; None where there is nothing to report."""
    outcome = write_report(study, replace(outcome, folder=folder), command)
    return folder.path / "report.html" if outcome.report is not None else None


def fake(cell):
    """A result as a run of this cell would give it, with a seed's share of its row's seconds."""
    index = cell.seed - STUDY.base.seed
    right = ACCURACY[cell.arm[0]][index % 3] + (index // 3 if cell.arm[0] == EVERYTHING else 0)
    return {
        "dataset": "digits",
        "train_images": 1437,
        "test_images": 360,
        "image_size": [8, 8],
        "validation_images": 0,
        "params": PARAMS.get(cell.arm[0], 2875),
        "test": {"label": {"accuracy": right / 360}},
        "seconds": {"train": SECONDS[cell.arm[0]] * (1 + 0.5 * (index - 1)), "compile": 7.0, "total": 99.0},
        "device": "a machine",
        "versions": {"python": "3"},
        "revision": "abc",
    }


def row_cells(study, row):
    """The runs of one row, seed by seed."""
    return [cell for cell in study.cells({}) if cell.arm == (row,)]


def results_of(study):
    return {cell.key: fake(cell) for cell in study.cells({})}


def test_the_effect_of_an_ingredient_is_what_goes_without_it():
    table = tabulate(STUDY, results_of(STUDY))
    assert [row.name for row in table.ingredients] == ["stem", "smoothing", "EMA"]  # by effect
    stem, smoothing, ema = table.ingredients
    np.testing.assert_allclose(stem.effect.gains, [25, 25, 35])
    np.testing.assert_allclose(smoothing.effect.gains, [0, -200 / 360, 200 / 360], atol=1e-12)
    assert stem.effect.mean.value == pytest.approx(85 / 3)
    assert smoothing.effect.mean.value == pytest.approx(0, abs=1e-12)
    assert ema.effect.mean.value == pytest.approx(-20 / 3)  # it hurts
    assert table.baseline.effect.mean.value == pytest.approx(45)
    assert [row.effect.mean.sign for row in (stem, smoothing, table.baseline)] == [1, 0, 1]
    np.testing.assert_allclose(table.base.accuracy, [0.5, 0.55, 0.6])
    assert [row.params for row in table.rows] == [2875, 2300, 2875, 2875, 2300]


def test_seconds_are_those_of_training_against_the_base():
    table = tabulate(STUDY, results_of(STUDY))
    np.testing.assert_allclose(table.base.seconds, [10, 20, 30])
    ratios = {row.name: row.effect.seconds for row in table.rows[1:]}
    assert ratios == pytest.approx({"stem": 1.5, "smoothing": 1.0, "EMA": 0.85, NOTHING: 0.55})


def test_what_a_recipe_learns_before_its_own_training_costs_time_too():
    results = results_of(STUDY)
    key = row_cells(STUDY, EVERYTHING)[0].key
    results[key]["seconds"]["pretrain"] = 5.0
    assert tabulate(STUDY, results).base.seconds[0] == 15


def test_rows_say_in_which_fields_they_differ():
    table = tabulate(STUDY, results_of(STUDY))
    stem, smoothing, ema = ([str(one) for one in row.differs] for row in table.ingredients)
    assert stem == ["model.tokenizer conv (channels (6, 12), strides (2, 2)) → patch (patch_size 4)"]
    assert smoothing == ["tasks.label.label_smoothing 0.1 → 0.0"]
    assert ema == ["train.ema 0.9 → none"]
    assert sorted(str(one) for one in table.baseline.differs) == sorted(stem + smoothing + ema)
    assert table.base.differs == ()


def test_a_row_is_paired_on_the_seeds_that_it_and_the_base_have():
    results = results_of(STUDY)
    del results[row_cells(STUDY, EVERYTHING)[0].key], results[row_cells(STUDY, "without stem")[1].key]
    table = tabulate(STUDY, results)
    rows = {row.name: row for row in table.rows}
    assert rows["stem"].seeds == (0, 2)
    assert rows["stem"].effect.seeds == (2,)
    assert rows["stem"].effect.mean.value == pytest.approx(35)
    assert rows["stem"].effect.seconds == pytest.approx(1.5)
    assert rows["EMA"].effect.seeds == (1, 2)
    assert np.isnan(rows["EMA"].effect.mean.low)  # no interval from two


def test_without_base_or_rows_there_is_no_table():
    results = results_of(STUDY)
    base = [cell.key for cell in row_cells(STUDY, EVERYTHING)]
    assert tabulate(STUDY, {key: result for key, result in results.items() if key not in base}) is None
    assert tabulate(STUDY, {key: results[key] for key in base}) is None


def test_p_values_begin_at_eight_seeds_and_are_adjusted():
    few = tabulate(replace(STUDY, seeds=7), results_of(replace(STUDY, seeds=7)))
    assert {row.effect.p for row in few.rows[1:]} == {None}
    eight = tabulate(replace(STUDY, seeds=8), results_of(replace(STUDY, seeds=8)))
    p = {row.name: row.effect.p for row in eight.rows[1:]}
    # The stem helps, and all together do, with every seed: 2 / 2^8 each, times 4 comparisons.
    assert p["stem"] == p[NOTHING] == pytest.approx(4 / 128)
    # Gains of 0, -2, 2, 1, -1, 3, 2, 0 right answers: 28 of the 64 ways to flip six signs reach their sum of 5.
    assert p["smoothing"] == pytest.approx(28 / 64)


def test_tables_as_csv():
    table = tabulate(STUDY, results_of(STUDY))
    rows = list(csv.DictReader(io.StringIO(as_csv(table_rows(table)))))
    assert [row["row"] for row in rows] == [EVERYTHING, "stem", "smoothing", "EMA", NOTHING]
    assert rows[0]["effect_points"] == rows[0]["low_points"] == rows[0]["seconds_ratio"] == ""
    assert rows[0]["test_accuracy"] == "0.55"
    assert rows[1]["effect_points"] == "28.3333"
    assert rows[3]["effect_points"] == "-6.6667"
    assert rows[3]["differs"] == "train.ema 0.9 → none"
    assert {row["p"] for row in rows} == {""}
    runs = list(csv.DictReader(io.StringIO(as_csv(run_rows(table)))))
    assert len(runs) == 5 * 3
    assert runs[4] == {"row": "stem", "seed": "1", "test_accuracy": "0.3", "params": "2300", "seconds": "30.0"}


def test_lines_for_a_terminal():
    printed = lines(tabulate(replace(STUDY, seeds=2), results_of(replace(STUDY, seeds=2))))
    assert printed[0].split("  ")[-1].strip() == "parameters"
    assert " p " not in printed[0]
    assert printed[2].split() == ["stem", "+25.00", "27.50", "22.5", "(+50", "%)", "2,300", "(−20.0", "%)"]
    assert printed[4].split() == ["EMA", "−5.00", "57.50", "12.8", "(−15", "%)", "2,875"]
    eight = lines(tabulate(replace(STUDY, seeds=8), results_of(replace(STUDY, seeds=8))))
    assert eight[0].split()[:3] == ["effect,", "points", "p"]
    assert "0.031" in eight[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report of the made-up results with one failed run: folder, page, study.json."""
    folder = StudyFolder(tmp_path_factory.mktemp("ablation") / "out", STUDY)
    folder.start()
    results = results_of(STUDY)
    failed = row_cells(STUDY, "without stem")[0]
    del results[failed.key]
    outcome = Outcome(folder, results, ((failed, "ValueError: <no>"),))
    page = write(STUDY, folder, outcome, "hybridvit study x")
    return folder.path, page.read_text(encoding="utf-8"), json.loads((folder.path / "study.json").read_text())


def test_the_page_is_one_file_for_light_and_dark(written):
    path, text, _ = written
    for outside in ("src=", "http://", "https://", "<link", "<script", "@import"):
        assert outside not in text.replace("http://www.w3.org", "")
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "What is &lt;it&gt; worth?" in text
    assert "without stem, seed 0: ValueError: &lt;no&gt;" in text
    assert text.count("<svg") == 2
    assert (path / "effect.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_says_what_everything_is_worth(written):
    _, text, _ = written
    for number in ("+30.00", "−6.67", "+45.00", "55.00"):
        assert f">{number}" in text
    assert "one at a time they add up to +23.33" in text
    assert "<code>train.ema 0.9 → none</code>" in text
    assert "2 of 3 seeds" in text
    assert "too few to claim significance" in text
    assert "<th>p</th>" not in text
    assert "read once, after the last step" in text


def test_study_json_holds_every_number(written):
    _, _, summary = written
    assert list(summary["without"]) == ["stem", "smoothing", "EMA"]
    stem = summary["without"]["stem"]
    assert stem["seeds"] == [1, 2]
    assert stem["accuracy"] == [0.3, 0.25]
    assert stem["effect"]["points"] == pytest.approx(30)
    assert stem["effect"]["interval"] == [None, None]
    assert stem["effect"]["by_seed"] == pytest.approx([25, 35])
    assert stem["effect"]["p"] is None
    (differs,) = summary["without"]["EMA"]["differs"]
    assert (differs["field"], differs["base"], differs["here"]) == ("train.ema", 0.9, None)
    assert stem["differs"][0]["here"]["kind"] == "patch"
    assert summary["base"]["effect"] is None
    assert summary["baseline"]["effect"]["points"] == pytest.approx(45)
    facts = {"steps": 3, "batch_size": 8, "device": "a machine", "revision": "abc", "command": "hybridvit study x"}
    assert facts.items() <= summary.items()
    assert summary["failed"][0]["cell"] == "without stem, seed 0"


@pytest.mark.parametrize(
    ("seeds", "says"),
    [
        (6, "6 seeds are too few to claim significance for 4 comparisons: 8 are needed."),
        (8, "Claimed to differ from 0: stem (p = 0.031), all together (p = 0.031). Not claimed: "),
    ],
)
def test_nothing_is_called_significant_that_cannot_be(seeds, says):
    study = replace(STUDY, seeds=seeds)
    assert says in claim_of(tabulate(study, results_of(study)))


def test_p_values_have_a_column_once_there_are_some(tmp_path):
    study = replace(STUDY, seeds=8)
    folder = StudyFolder(tmp_path, study)
    text = write(study, folder, Outcome(folder, results_of(study)), "").read_text(encoding="utf-8")
    assert "<th>p</th>" in text
    assert "<td>0.031</td>" in text
