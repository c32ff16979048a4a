"""Nested, class-stratified, seeded subsets."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.samples import Samples


def stratified_order(labels: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """An order of the samples whose every prefix is a class-stratified random subset.

    The k-th of the m samples of a class, in random order, may stand at the places where the class is within
    one sample of its proportion; each place goes to the sample that must stand soonest, which always leaves
    a place for all (Steiner and Yeomans 1993). A shorter prefix is part of every longer one.

    Args:
        labels: class index of each sample, ``[n]``.
        seed: seed of the order.

    Returns:
        A permutation of 0 .. n-1.
    """
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    n = len(labels)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        k, m = np.arange(len(members)), len(members)
        first[members] = np.maximum(-(-k * n // m) - 1, 0)
        last[members] = (k + 1) * n // m
    chance = rng.random(n)
    waiting = np.lexsort((chance, first))[::-1].tolist()
    ready: list[tuple[int, float, int]] = []
    order = np.empty(n, np.int64)
    for place in range(n):
        while waiting and first[waiting[-1]] <= place:
            sample = waiting.pop()
            heapq.heappush(ready, (int(last[sample]), chance[sample], sample))
        order[place] = heapq.heappop(ready)[2]
    return order


def stratified_split(
    labels: NDArray[np.integer], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the samples kept and of the ``share`` (rounded up) set apart, each in rising order."""
    order = stratified_order(labels, seed)
    apart = int(np.ceil(share * len(labels) - 1e-9))
    return np.sort(order[apart:]), np.sort(order[:apart])


def strata(samples: Samples, column: str | None) -> NDArray[np.int64]:
    """What splits and subsets are stratified by: a column of classes, if any, and the data set a sample is from."""
    labels: NDArray[np.int64] = samples.targets[column] if column else np.zeros(len(samples), np.int64)
    if samples.source is None:
        return labels
    combined: NDArray[np.int64] = samples.source * (labels.max(initial=0) + 2) + labels
    return combined


def set_apart(samples: Samples, column: str | None, share: float, seed: int) -> tuple[Samples, Samples]:
    """The samples kept and the ``share`` set apart, stratified by a column of classes."""
    kept, apart = stratified_split(strata(samples, column), share, seed)
    return samples[kept], samples[apart]
