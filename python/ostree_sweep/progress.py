"""Progress of running work: the value that callbacks get, and its pace."""

from __future__ import annotations

import time

from .frozen import dataclass, replace
from .hints import Optional, Phase, ProgressCallback

# Nine at even distances leave room in any second for the last one.
_INTERVAL_S = 1 / 9
# To find out who holds a lock takes a look at all processes.
_HOLDERS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Progress:
    """How far the work has come.

    Attributes:
        phase: "lock" (it waits for one), "paused", "deployments", "roots", "crawl", "sweep", or "done": only
            work that was not stopped ends in that.
        done: steps done in this phase; while the phase lasts, it only rises.
        total: steps in this phase; None where that isn't known.
        bytes_freed: bytes freed since the work began.
        waiting_for: what the work waits for at the moment, doing nothing, for people to read; a lock's file
            with those who hold it, as far as we may see them. None: it doesn't wait.
    """

    phase: Phase
    done: int
    total: Optional[int]
    bytes_freed: int
    waiting_for: Optional[str] = None


class Throttle:
    """Passes progress on at most ten times a second, and the last of it for sure.

    What the callback raises goes through: it stops the work.
    """

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._next_s = 0.0
        self._pending: Optional[Progress] = None
        self._holders = ""
        self._holders_until_s = 0.0

    def __call__(
        self, phase: Phase, done: int, total: Optional[int], bytes_freed: int, waiting_for: Optional[str]
    ) -> None:
        """Takes the core's progress, and passes it on if it's time to."""
        self._pending = Progress(phase, done, total, bytes_freed, waiting_for)
        if time.monotonic() >= self._next_s:
            self.flush()

    def flush(self) -> None:
        """Passes on what is held back."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            if pending.phase == "lock" and pending.waiting_for is not None:
                pending = replace(
                    pending, waiting_for=f"{pending.waiting_for}{self._held(pending.waiting_for)}"
                )
            self._callback(pending)
            self._next_s = time.monotonic() + _INTERVAL_S

    def _held(self, lock: str) -> str:
        """By whom a lock is held."""
        now = time.monotonic()
        if now >= self._holders_until_s:
            # Seldom needed.
            from .locks import held_by

            self._holders, self._holders_until_s = held_by(lock, ", "), now + _HOLDERS_INTERVAL_S
        return self._holders
