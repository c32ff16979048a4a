"""Training curves out of results, mean over repetitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Curve = tuple[list[int], NDArray[np.float64]]


def loss_curve(results: Sequence[Mapping[str, Any]], task: str) -> Curve:
    """Logged steps and a task's own training loss at each; NaN where no repetition had a label for it."""
    histories = [result["history"] for result in results]
    own = [history.get("losses", {}).get(task, history["loss"]) for history in histories]
    return list(histories[0]["steps"]), _mean(own)


def validation_curve(results: Sequence[Mapping[str, Any]], task: str, metric: str) -> Curve | None:
    """Steps of the looks at the validation split and a metric at each; None where there was none."""
    looks = [result["history"].get("validation", []) for result in results]
    if not looks or not looks[0]:
        return None
    values = _mean([[look.get(task, {}).get(metric) for look in one] for one in looks])
    return ([look["step"] for look in looks[0]], values) if np.isfinite(values).any() else None


def _mean(repetitions: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Over what is known; NaN where nothing is."""
    return np.ma.masked_invalid(np.array(repetitions, dtype=np.float64)).mean(axis=0).filled(np.nan)
