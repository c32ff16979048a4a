"""Shows what a study runs, how far it is and how long is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from hybridvit.studies.cells import Cell


class Display(Protocol):
    """What a study tells while it runs."""

    def stage(self, name: str, total: int, done: int, workers: int) -> None:
        """A stage begins with so many cells, of which some have a result already."""

    def started(self, cell: Cell) -> None:
        """A cell is handed to a worker."""

    def ended(self, cell: Cell, result: dict[str, Any]) -> None:
        """A cell has a result, or an error."""


class Estimate:
    """Time left: the mean time of a finished cell, times what is left, over the workers."""

    def __init__(self, total: int, done: int, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.total, self.done, self.workers, self.clock = total, done, max(workers, 1), clock
        self.begun: dict[str, float] = {}
        self.seconds: list[float] = []

    def start(self, key: str) -> None:
        """A cell begins."""
        self.begun[key] = self.clock()

    def end(self, key: str) -> None:
        """A cell ends."""
        self.done += 1
        self.seconds.append(self.clock() - self.begun.pop(key))

    def left(self) -> float | None:
        """Seconds, or None while nothing has ended."""
        if not self.seconds:
            return None
        mean = sum(self.seconds) / len(self.seconds)
        running = sum(min(self.clock() - begun, mean) for begun in self.begun.values())
        return max((self.total - self.done) * mean - running, 0.0) / self.workers


def clock_text(seconds: float) -> str:
    """m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressDisplay:
    """A live bar on a terminal; elsewhere a line at every tenth of a stage.

    Args:
        console: where to show it; standard error, so that standard output stays clean.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            expand=True,
        )
        self.running: dict[str, str] = {}
        self.last = ""
        self.estimate = Estimate(0, 0, 1)
        self.name, self.announced = "", 0
        self.task: TaskID | None = None
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4)

    def __enter__(self) -> ProgressDisplay:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running.clear()
        if self.console.is_terminal:
            self.live.stop()

    def stage(self, name: str, total: int, done: int, workers: int) -> None:
        self.name, self.estimate, self.announced = name, Estimate(total, done, workers), 10 * done // max(total, 1)
        self.task = self.bar.add_task(name, total=total, completed=done, left="")
        if not self.console.is_terminal:
            self.console.print(f"{name}: {total} runs, {done} of them done before", highlight=False)

    def started(self, cell: Cell) -> None:
        self.estimate.start(cell.key)
        self.running[cell.key] = str(cell)

    def ended(self, cell: Cell, result: dict[str, Any]) -> None:
        self.estimate.end(cell.key)
        self.running.pop(cell.key, None)
        if "error" in result:
            self.console.print(f"failed: {cell}: {result['error']}", style="red", highlight=False, soft_wrap=True)
        else:
            self.last = f"{cell}: {cell.summarise(result)}"
        if self.task is not None:
            self.bar.update(self.task, completed=self.estimate.done)
        tenth = 10 * self.estimate.done // max(self.estimate.total, 1)
        if not self.console.is_terminal and tenth > self.announced:
            self.announced = tenth
            done, total = self.estimate.done, self.estimate.total
            self.console.print(
                f"{self.name}: {done} of {total} runs, {self._left()}; {self.last}", highlight=False, soft_wrap=True
            )

    def _left(self) -> str:
        left = self.estimate.left()
        return "" if left is None else f"{clock_text(left)} left"

    def _render(self) -> Group:
        if self.task is not None:
            self.bar.update(self.task, left=self._left())
        lines = [Text(f"  running  {what}", style="cyan") for what in list(self.running.values())[:8]]
        if self.last:
            lines.append(Text(f"  last     {self.last}", style="dim"))
        return Group(self.bar, *lines)
