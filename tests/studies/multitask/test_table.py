"""A comparison of tasks, tabulated: pairing, intervals, claims, conflict."""

from dataclasses import replace

import numpy as np
import pytest

from hybridvit.studies.cells import distinct
from hybridvit.studies.multitask.table import compare
from hybridvit.studies.report.conflicts import mean_conflict
from hybridvit.studies.report.curves import loss_curve, validation_curve
from hybridvit.studies.statistics import mean_interval


def results_of(study, fake_result, gain=0.05):
    return {cell.key: fake_result(cell, gain) for cell in distinct(study.cells({}))}


def row(table, trunk, balance):
    return next(row for row in table.rows if (row.trunk, row.balance) == (trunk, balance))


def by_cell(study, results):
    return {(c.arm[0], c.seed, *c.arm[1:]): results[c.key] for c in study.cells({})}


def test_every_kind_of_task_says_which_way_is_better(comparison):
    found = {task: config.higher_is_better() for task, config in comparison.base.tasks.items()}
    assert found["ink"] == {"r2": True, "mae": False}
    assert found["centre"] == {"pck": True, "distance": False}
    assert found["strokes"] == {"miou": True, "pixel_accuracy": True}


def test_delta_is_paired_by_seed(comparison, fake_result):
    results = results_of(comparison, fake_result)
    cells = by_cell(comparison, results)
    expected = []
    for seed in range(3):
        gains = []
        for task, metrics in cells["ResNet", seed, "sum", None]["test"].items():
            single = cells["ResNet", seed, None, task]["test"][task]
            signs = {"mae": -1, "distance": -1}
            gains.append(np.mean([signs.get(m, 1) * (v - single[m]) / single[m] for m, v in metrics.items()]))
        expected.append(100 * np.mean(gains))
    found = row(compare(comparison, results), "ResNet", "sum").effect
    np.testing.assert_allclose(found.delta, mean_interval(np.array(expected)))
    assert found.delta.low < found.delta.value < found.delta.high
    assert found.seeds == (0, 1, 2)
    assert found.p is None


def test_other_trunks_are_also_held_against_the_first_ones_single_tasks(comparison, fake_result):
    results = results_of(comparison, fake_result)
    cells = by_cell(comparison, results)
    table = compare(comparison, results)
    alone = row(table, "ViT / mean", "alone")
    first = [cells["ResNet", s, None, "label"]["test"]["label"]["accuracy"] for s in range(3)]
    other = [cells["ViT / mean", s, None, "label"]["test"]["label"]["accuracy"] for s in range(3)]
    expected = np.mean([100 * (b - a) / a for a, b in zip(first, other, strict=True)])
    assert alone.against_first.tasks["label"].value == pytest.approx(expected)
    assert alone.effect is None
    assert row(table, "ResNet", "alone").against_first is None


def test_a_seed_without_all_its_single_tasks_is_left_out(comparison, fake_result):
    results = results_of(comparison, fake_result)
    lost = next(c for c in comparison.cells({}) if (c.seed, c.arm) == (1, ("ResNet", None, "ink")))
    del results[lost.key]
    found = row(compare(comparison, results), "ResNet", "sum")
    assert found.effect.seeds == (0, 2)
    assert np.isnan(found.effect.delta.low)  # no interval below three seeds
    assert found.seeds == (0, 1, 2)


def test_significance_of_four_comparisons_is_claimed_from_eight_seeds_on(comparison, fake_result):
    seven, eight = replace(comparison, seeds=7), replace(comparison, seeds=8)
    assert row(compare(seven, results_of(seven, fake_result)), "ResNet", "sum").effect.p is None
    table = compare(eight, results_of(eight, fake_result, gain=0.5))
    # each of four comparisons is at the smallest p that eight seeds can give, 2 / 256
    assert [r.effect.p for r in table.rows if r.effect] == pytest.approx([4 / 128] * 4)
    assert all(r.against_first.p is None for r in table.rows if r.against_first)


def test_parameters_and_seconds_of_single_tasks_add_up(comparison, fake_result):
    table = compare(comparison, results_of(comparison, fake_result))
    alone, joint = row(table, "ResNet", "alone"), row(table, "ResNet", "sum")
    assert (alone.params, joint.params) == (4 * 1100, 1400)
    assert (alone.seconds, joint.seconds) == (pytest.approx(4 * 3.0), pytest.approx(6.0))


def test_nothing_complete_is_no_table(comparison):
    assert compare(comparison, {}) is None


def test_a_metric_without_labels_is_no_column(comparison, fake_result):
    results = results_of(comparison, fake_result)
    for result in results.values():
        result["test"].pop("centre", None)
    table = compare(comparison, results)
    assert ("centre", "pck") not in table.columns
    assert table.columns[0] == ("label", "accuracy")
    assert "centre" not in row(table, "ResNet", "sum").effect.tasks


def test_mean_conflict_skips_what_never_met():
    def record(step, first, second):
        cosines = [[[1.0, c], [c, 1.0]] for c in (first, second)]
        return {"step": step, "tasks": ["a", "b"], "stages": ["stem", "norm"], "cosines": cosines}

    found = mean_conflict([record(5, 0.5, None), record(10, -0.1, None), record(10, 0.3, None)])
    assert found.pairs == ("a · b",)
    np.testing.assert_allclose(found.mean, [[0.7 / 3, np.nan]])
    assert found.steps == (5, 10)
    np.testing.assert_allclose(found.course, [[0.5], [0.1]])
    assert mean_conflict([]) is None
    assert mean_conflict([record(5, None, None)]) is None


def test_curves_are_means_over_what_is_known():
    runs = [
        {"history": {"steps": [1, 2], "loss": [9, 9], "losses": {"a": [1.0, None]}, "validation": []}},
        {"history": {"steps": [1, 2], "loss": [9, 9], "losses": {"a": [3.0, None]}, "validation": []}},
    ]
    steps, values = loss_curve(runs, "a")
    assert steps == [1, 2]
    np.testing.assert_allclose(values, [2.0, np.nan])
    assert loss_curve([{"history": {"steps": [1], "loss": [4.0]}}], "a")[1] == [4.0]  # a task alone
    assert validation_curve(runs, "a", "accuracy") is None
    looks = [{"step": 5, "a": {"accuracy": 0.5}}, {"step": 10, "a": {}}]
    steps, values = validation_curve([{"history": {"validation": looks}}], "a", "accuracy")
    np.testing.assert_allclose(values, [0.5, np.nan])
