"""What happened over a run, as checkpoints and result files keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """What happened over a run.

    Attributes:
        steps: logged steps.
        loss: mean training loss since the last of them.
        losses: task -> its own mean loss over the same steps, None where none of them had a label for it.
        validation: for every evaluation on the validation split, its step and the metrics by task and name.
        conflicts: at five steps, the cosines between the tasks' gradients in every stage of the trunk.
        probes: probe name -> readings, at step 0 and at every logged step.
        best_step: step of the best validation metrics, -1 without a validation split.
        best: those metrics, by task and name.
        seconds: time from the first step to the last, validation included.
        joules: what the GPU used in that time, whatever else ran on it; None where it does not tell.
        compile_seconds: time spent compiling before that.
    """

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    losses: dict[str, list[float | None]] = field(default_factory=dict)
    validation: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    probes: dict[str, list[Any]] = field(default_factory=dict)
    best_step: int = -1
    best: dict[str, dict[str, float]] | None = None
    seconds: float = 0.0
    joules: float | None = None
    compile_seconds: float = 0.0
