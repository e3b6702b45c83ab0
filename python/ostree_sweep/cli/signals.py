"""What signals ask of running work: INT, TERM, HUP and QUIT to stop, TSTP to rest until CONT."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager

from ..cancellation import CancellationToken
from ..hints import TYPE_CHECKING
from .output import progress_display

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    from typing_extensions import Self

    from ..hints import ProgressCallback
    from ..progress import Progress


# A closed terminal and Ctrl-\\ must not leave a stamp or a report behind either.
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class WorkSignals:
    """While entered, signals cancel or pause what heeds the token.

    A process that was simply stopped would keep its locks. So SIGTSTP, a terminal's Ctrl-Z, first has the
    work rest.

    Attributes:
        token: cancelled by the first signal to stop.
        number: the last of these that came; None before any.
    """

    def __init__(self) -> None:
        self.token: CancellationToken = CancellationToken()
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            **dict.fromkeys(_STOPPING, self._stop),
            signal.SIGTSTP: self._pause,
        }
        for number, handler in handlers.items():
            previous = signal.getsignal(number)
            # A shell's background job ignores SIGINT, and goes on doing so.
            if previous is not signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, handler)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    @contextmanager
    def progress(self, *, bar: bool = True) -> Iterator[ProgressCallback]:
        """Gives the callback by which the process learns that the work is paused, and can be stopped.

        Args:
            bar: draw a progress bar, if stderr is a terminal.
        """
        with progress_display(bar=bar) as shown:

            def see(progress: Progress) -> None:
                if shown is not None:
                    shown(progress)
                if progress.phase == "paused":
                    os.kill(os.getpid(), signal.SIGSTOP)
                    self.token.resume()

            yield see

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self.token.cancel()

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        self.token.pause()
