"""How long a study may go on."""

from __future__ import annotations

import time
from collections.abc import Callable


class TimeIsUp(RuntimeError):
    """A study may not start what it needs before anything can be compared."""


class TimeLimit:
    """Lets runs begin as long as they are likely to end in time: none that would take as long as the longest so far.

    Args:
        minutes: from now; None: without end.
        clock: seconds.
    """

    def __init__(self, minutes: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.end = None if minutes is None else clock() + 60 * minutes
        self.longest = 0.0

    def took(self, seconds: float) -> None:
        """A run has ended after so long."""
        self.longest = max(self.longest, seconds)

    def allows_another(self) -> bool:
        """Whether one more run may begin now."""
        return self.end is None or self.clock() + self.longest < self.end
