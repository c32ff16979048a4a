"""Nested, stratified, seeded orders."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hybridvit.data.subset import stratified_order, stratified_split

LABELS = {
    "digits": load_digits().target,
    "balanced": np.tile(np.arange(7), 13),
    "unequal": np.repeat([2, 0, 5], [17, 5, 3]),
    "one large, ten small": np.repeat(np.arange(11), [900] + [10] * 10),
    "long tail": np.repeat(np.arange(21), [400] + [1] * 20),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LABELS)
def test_every_prefix_holds_each_class_within_one_of_its_proportion(name, seed):
    labels = LABELS[name]
    order = stratified_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    counts = (labels[order][:, None] == np.unique(labels)).cumsum(axis=0)
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    error = np.abs(counts - np.arange(1, len(labels) + 1)[:, None] * shares)
    worst = np.unravel_index(error.argmax(), error.shape)
    assert error.max() <= 1 + 1e-9, (
        f"of the first {worst[0] + 1} samples {counts[worst]} are of class number {worst[1]}, "
        f"in proportion {(worst[0] + 1) * shares[worst[1]]:.2f}"
    )


def test_order_depends_on_labels_and_seed_alone():
    labels = LABELS["digits"]
    assert np.array_equal(stratified_order(labels, 3), stratified_order(labels.copy().astype(np.int32), 3))
    assert not np.array_equal(stratified_order(labels, 3), stratified_order(labels, 4))


def test_every_sample_of_a_class_is_drawn_with_the_same_probability():
    labels, prefix, draws = np.repeat([0, 1, 2], [4, 6, 10]), 5, 800
    hits = np.zeros(20)
    for seed in range(draws):
        hits[stratified_order(labels, seed)[:prefix]] += 1
    for label in range(3):
        own = hits[labels == label] / draws
        np.testing.assert_allclose(own, own.mean(), atol=5 * np.sqrt(0.25 / draws))  # five standard deviations
        assert own.mean() == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize(
    ("n", "share", "apart"),
    [(1797, 0.2, 360), (30, 0.1, 3), (30, 0.0, 0), (7, 0.01, 1), (10, 0.99, 10), (100, 0.07, 7), (50, 0.14, 7)],
)
def test_split_sets_apart_the_share_rounded_up(n, share, apart):
    labels = np.arange(n) % 3
    kept, held = stratified_split(labels, share, seed=5)
    assert len(held) == apart
    assert sorted([*kept, *held]) == list(range(n))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held) > 0).all()


def test_split_is_stratified_and_seeded():
    labels = np.arange(100) % 4
    _, held = stratified_split(labels, 0.2, seed=0)
    assert np.bincount(labels[held]).tolist() == [5, 5, 5, 5]
    assert not np.array_equal(held, stratified_split(labels, 0.2, seed=1)[1])
    assert np.array_equal(held, stratified_split(labels, 0.2, seed=0)[1])
