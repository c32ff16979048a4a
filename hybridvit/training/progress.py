"""How far a training is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Progress(NamedTuple):
    """How far a training is after a step.

    Attributes:
        step: number of finished steps.
        loss: mean training loss as last logged; None before the first logged step.
        validation: mean over the tasks of their first metric, as last evaluated; None before the first evaluation.
    """

    step: int
    loss: float | None = None
    validation: float | None = None


OnStep = Callable[[Progress], None]
