"""The progress of a training run."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OnStep = Callable[[int, float], None]


@contextmanager
def training_progress(steps: int) -> Iterator[OnStep]:
    """Shows how far a run is, on standard error: a bar on a terminal, a line at every tenth of the steps elsewhere.

    Args:
        steps: of the whole run.

    Returns:
        The function to call after each step, with the number of finished steps and the latest logged loss, which is
        NaN before the first.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(steps)
        return

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
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
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task("training", total=steps, scores="")

        def update(step: int, loss: float) -> None:
            progress.update(task, completed=step, scores=_scores_text(loss))

        yield update


def _lines(steps: int) -> OnStep:
    """Prints a line at every tenth of the steps."""
    from hybridvit.studies.progress import clock_text

    first: tuple[int, float] | None = None  # step and time of the first call; a resumed run does not begin at step 1

    def line(step: int, loss: float) -> None:
        nonlocal first
        first = first or (step, time.monotonic())
        if 10 * step // steps == 10 * (step - 1) // steps:
            return
        parts = [f"step {step} of {steps}", _scores_text(loss)]
        if first[0] < step < steps:
            pace = (time.monotonic() - first[1]) / (step - first[0])
            parts.append(f"{clock_text(pace * (steps - step))} left")
        print(", ".join(part for part in parts if part), file=sys.stderr, flush=True)

    return line


def _scores_text(loss: float) -> str:
    """The loss, once there is one."""
    return "" if math.isnan(loss) else f"loss {loss:.4f}"
