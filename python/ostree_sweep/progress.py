"""Progress of running work: the value that callbacks get, its pace, and a bar for terminals."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    phase: str
    done: int
    total: int | None
    bytes_freed: int


ProgressCallback = Callable[[Progress], object]


class Throttle:
    """Passes progress on at most ten times a second, and the last of it for sure.

    What the callback raises goes through: it stops the work.
    """

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._next_s = 0.0
        self._pending: Progress | None = None

    def __call__(self, phase: str, done: int, total: int | None, bytes_freed: int) -> None:
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


@contextmanager
def terminal_bar() -> Iterator[ProgressCallback | None]:
    """Gives a callback that draws a progress bar on stderr; None where stderr is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    # A serial console has no height, in which tqdm would draw nothing.
    with tqdm(file=sys.stderr, leave=False, nrows=2, unit="") as bar:
        phase = ""

        def draw(progress: Progress) -> None:
            nonlocal phase
            if progress.phase != phase:
                phase = progress.phase
                bar.reset()
                bar.set_description_str(phase, refresh=False)
            bar.total = progress.total
            bar.n = progress.done
            if progress.bytes_freed:
                freed = f"{progress.bytes_freed / 2**20:.1f} MiB freed"
                bar.set_postfix_str(freed, refresh=False)
            bar.refresh()

        yield draw
