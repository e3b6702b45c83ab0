"""How a caller stops running work from another thread, a signal handler or a task."""

from __future__ import annotations

from typing import Protocol


class Cancellable(Protocol):
    """Anything that can say whether work is to stop: `Gio.Cancellable` fits as it is.

    It's asked about every 50 ms, in the thread that made the call.
    """

    def is_cancelled(self) -> bool:
        """Whether the work is to stop."""


class CancellationToken:
    """A `Cancellable` to be cancelled once, from any thread or from a signal handler."""

    def __init__(self) -> None:
        # One attribute store is atomic. An Event's lock would deadlock where one signal interrupts
        # another one's handler inside `set`.
        self._cancelled = False

    def cancel(self) -> None:
        """Asks the work to stop. Further calls change nothing."""
        self._cancelled = True

    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled
