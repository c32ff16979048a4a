"""Δm against numbers computed by hand."""

import math

import pytest

from hybridvit.studies.multitask.deltas import near_zero, relative_gain

BETTER = {"label": {"accuracy": True}, "ink": {"r2": True, "mae": False}, "centre": {"pck": True, "distance": False}}


def test_by_hand_with_metrics_of_both_directions():
    single = {"label": {"accuracy": 0.8}, "ink": {"r2": 0.5, "mae": 0.2}, "centre": {"pck": 0.4, "distance": 5.0}}
    multi = {"label": {"accuracy": 0.84}, "ink": {"r2": 0.45, "mae": 0.15}, "centre": {"pck": 0.4, "distance": 6.0}}
    delta = relative_gain(multi, single, BETTER)
    # +5 %; R² -10 % and error a quarter less: +7.5 %; the same PCK and a fifth further off: -10 %
    assert delta.tasks == pytest.approx({"label": 5.0, "ink": 7.5, "centre": -10.0})
    assert delta.mean == pytest.approx(2.5 / 3)  # over the tasks, not over the five metrics
    assert delta.left_out == ()


def test_a_negative_single_task_value_keeps_the_direction():
    """An R² below 0 that rises is a gain."""
    delta = relative_gain({"ink": {"r2": -0.1}}, {"ink": {"r2": -0.2}}, BETTER)
    assert delta.tasks == pytest.approx({"ink": 50.0})


@pytest.mark.parametrize("lacking", ["multi", "single"])
def test_a_metric_that_either_side_lacks_is_skipped(lacking):
    whole = {"label": {"accuracy": 0.5}, "ink": {"r2": 0.5, "mae": 0.2}}
    part = {"ink": {"mae": 0.1}}
    multi, single = (part, whole) if lacking == "multi" else (whole, part)
    delta = relative_gain(multi, single, BETTER)
    assert delta.tasks == pytest.approx({"ink": 50.0 if lacking == "multi" else -100.0})


def test_a_single_task_at_zero_is_left_out_and_said():
    delta = relative_gain({"ink": {"r2": 0.3, "mae": 0.3}}, {"ink": {"r2": 1e-9, "mae": 0.2}}, BETTER)
    assert delta.tasks == pytest.approx({"ink": -50.0})
    assert delta.left_out == ("ink r2",)


def test_an_average_precision_near_zero_does_not_rule():
    """An AP of 0.00004 that becomes 0.003 would count as +7,400 %."""
    better = {"box": {"ap": True, "ap50": True}, "label": {"accuracy": True}}
    single = {"box": {"ap": 4e-5, "ap50": 0.0099}, "label": {"accuracy": 0.8}}
    delta = relative_gain({"box": {"ap": 3e-3, "ap50": 0.02}, "label": {"accuracy": 0.84}}, single, better)
    assert delta.tasks == pytest.approx({"label": 5.0})
    assert delta.left_out == ("box ap", "box ap50")
    assert near_zero({"box": {"ap": 0.01}, "ink": {"r2": -0.02, "mae": 1e-5}}, better | BETTER) == ()
    assert near_zero({"ink": {"r2": -0.009, "mae": 1e-7}}, BETTER) == ("ink r2", "ink mae")


def test_what_one_seed_leaves_out_another_can_leave_out_too():
    delta = relative_gain({"ink": {"r2": 0.3, "mae": 0.3}}, {"ink": {"r2": 0.2, "mae": 0.2}}, BETTER, ("ink r2",))
    assert delta.tasks == pytest.approx({"ink": -50.0})
    assert delta.left_out == ("ink r2",)


def test_nothing_in_common_has_no_mean():
    delta = relative_gain({"label": {"accuracy": 0.5}}, {"ink": {"r2": 0.3}}, BETTER)
    assert delta.tasks == {}
    assert math.isnan(delta.mean)
