"""SIGINT and SIGTERM, turned into a cancellation."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from ..cancellation import CancellationToken

if TYPE_CHECKING:
    from types import FrameType

    from typing_extensions import Self


class StopSignals:
    """While entered, SIGINT and SIGTERM cancel the token.

    Attributes:
        token: cancelled by the first signal.
        number: the last signal that came; None before any.
    """

    def __init__(self) -> None:
        self.token = CancellationToken()
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            previous = signal.getsignal(number)
            # A shell's background job ignores SIGINT, and goes on doing so.
            if previous is not signal.SIG_IGN:
                self._previous[number] = previous
                signal.signal(number, self._stop)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self.token.cancel()
