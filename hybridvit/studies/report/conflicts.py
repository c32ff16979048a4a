"""Gradient conflict of one or several runs, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Conflict:
    """Cosines between the gradients of two tasks.

    Attributes:
        pairs: names of the pairs.
        stages: names of the trunk's stages.
        mean: over steps and seeds, ``[pairs, stages]``; NaN where two tasks never met.
        steps: where it was measured, ``[t]``.
        course: mean over stages and seeds, ``[t, pairs]``.
    """

    pairs: tuple[str, ...]
    stages: tuple[str, ...]
    mean: NDArray[np.float64]
    steps: tuple[int, ...]
    course: NDArray[np.float64]


def mean_conflict(records: Sequence[dict[str, Any]]) -> Conflict | None:
    """One map of many records of the same tasks and stages; None where there is no record or no pair that met."""
    if not records:
        return None
    tasks, stages = records[0]["tasks"], tuple(records[0]["stages"])
    first, second = np.triu_indices(len(tasks), 1)
    cosines = np.array([record["cosines"] for record in records], dtype=np.float64)[:, :, first, second]
    if np.isnan(cosines).all():
        return None
    at = np.array([record["step"] for record in records])
    steps = np.unique(at)
    course = np.stack([_mean(_mean(cosines[at == step], 0), 0) for step in steps])
    names = tuple(f"{tasks[i]} · {tasks[j]}" for i, j in zip(first, second, strict=True))
    return Conflict(names, stages, _mean(cosines, 0).T, tuple(int(step) for step in steps), course)


def _mean(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Over what is known; NaN where nothing is."""
    return np.ma.masked_invalid(values).mean(axis=axis).filled(np.nan)
