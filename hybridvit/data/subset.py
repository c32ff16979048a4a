"""Nested, class-stratified, seeded subsets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratified_order(labels: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """An order of the samples whose every prefix is a class-stratified random subset.

    The k-th of the m samples of a class, in random order, stands at the quantile (k + u) / m
    with one random u in [0, 1) for each class. So each prefix holds every class in proportion,
    to within one sample, and a shorter prefix is part of every longer one.

    Args:
        labels: class index of each sample, ``[n]``.
        seed: seed of the order.

    Returns:
        A permutation of 0 .. n-1.
    """
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    quantile = np.empty(len(labels))
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        quantile[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(quantile, kind="stable")


def stratified_split(
    labels: NDArray[np.integer], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the samples kept and of the ``share`` (rounded up) set apart, each in rising order."""
    order = stratified_order(labels, seed)
    apart = int(np.ceil(share * len(labels) - 1e-9))
    return np.sort(order[apart:]), np.sort(order[:apart])
