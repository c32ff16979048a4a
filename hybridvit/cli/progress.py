"""The progress of a training run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hybridvit.training.history import OnStep, Progress


@contextmanager
def training_progress(steps: int) -> Iterator[OnStep]:
    """Shows how far a run is, on standard error: a bar on a terminal, a line at every tenth of the steps elsewhere.

    Args:
        steps: of the whole run.

    Returns:
        The function to call after each step.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(steps)
        return

    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.progress import TimeRemainingColumn as TimeLeftColumn

    columns = (
        TextColumn("training"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[scores]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeLeftColumn(),
    )
    with Bar(*columns, console=console, expand=True) as bar:
        task = bar.add_task("training", total=steps, scores="")

        def update(progress: Progress) -> None:
            bar.update(task, completed=progress.step, scores=_scores_text(progress))

        yield update


def _lines(steps: int) -> OnStep:
    """Prints a line at every tenth of the steps."""
    from hybridvit.studies.progress import clock_text

    first: tuple[int, float] | None = None  # step and time of the first call; a resumed run does not begin at step 1

    def line(progress: Progress) -> None:
        nonlocal first
        step = progress.step
        first = first or (step, time.monotonic())
        if 10 * step // steps == 10 * (step - 1) // steps:
            return
        parts = [f"step {step} of {steps}", _scores_text(progress)]
        if first[0] < step < steps:
            pace = (time.monotonic() - first[1]) / (step - first[0])
            parts.append(f"{clock_text(pace * (steps - step))} left")
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)

    return line


def _scores_text(progress: Progress) -> str:
    """The loss and the validation score, once there are any."""
    loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
    score = "" if progress.validation is None else f"validation {100 * progress.validation:.1f} %"
    return ", ".join(filter(None, (loss, score)))
