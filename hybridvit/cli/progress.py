"""The progress of a training run."""

from __future__ import annotations

import sys
from typing import Any


def training_bar(steps: int, every: int) -> Any:
    """A progress bar on a terminal, a line at every tenth elsewhere; gives the function to call at each step."""
    import contextlib

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    @contextlib.contextmanager
    def bar() -> Any:
        console = Console(stderr=True)
        if not console.is_terminal:

            def line(done: int, loss: float) -> None:
                if 10 * done // steps > 10 * (done - 1) // steps:
                    print(f"step {done} of {steps}, loss {loss:.4f}", file=sys.stderr)

            yield line
            return
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, expand=True) as progress:
            task = progress.add_task("training", total=steps, loss="–")

            def update(done: int, loss: float) -> None:
                progress.update(task, completed=done, loss="–" if loss != loss else f"{loss:.4f}")

            yield update

    return bar()
