"""Progress of running work: the value that callbacks get, and its pace."""

from __future__ import annotations

import time

from .frozen import dataclass
from .hints import Optional, Phase, ProgressCallback

# Nine at even distances leave room in any second for the last one.
_INTERVAL_S = 1 / 9


@dataclass(frozen=True)
class Progress:
    """How far the work has come.

    Attributes:
        phase: "lock", "paused", "deployments", "roots", "crawl", "sweep" or "done".
        done: steps done in this phase.
        total: steps in this phase; None where that isn't known.
        bytes_freed: bytes freed since the work began.
    """

    phase: Phase
    done: int
    total: Optional[int]
    bytes_freed: int


class Throttle:
    """Passes progress on at most ten times a second, and the last of it for sure.

    What the callback raises goes through: it stops the work.
    """

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._next_s = 0.0
        self._pending: Optional[Progress] = None

    def __call__(self, phase: Phase, done: int, total: Optional[int], bytes_freed: int) -> None:
        """Takes the core's progress, and passes it on if it's time to."""
        self._pending = Progress(phase, done, total, bytes_freed)
        if time.monotonic() >= self._next_s:
            self.flush()

    def flush(self) -> None:
        """Passes on what is held back."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._callback(pending)
            self._next_s = time.monotonic() + _INTERVAL_S
