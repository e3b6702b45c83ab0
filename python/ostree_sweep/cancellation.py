"""How a caller stops running work from another thread, a signal handler or a task."""

from __future__ import annotations

from .hints import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # what it does is done by type checkers


class Cancellable(Protocol):
    """Anything that can say whether work is to stop: `Gio.Cancellable` fits as it is.

    It's asked about every 50 ms, in the thread that made the call. If it has a method `is_paused() -> bool`,
    work stops as long as that is true: with no lock held.
    """

    def is_cancelled(self) -> bool:
        """Whether the work is to stop."""


class CancellationToken:
    """A `Cancellable` to be cancelled once, or paused, from any thread or from a signal handler."""

    def __init__(self) -> None:
        # One attribute store is atomic. An Event's lock would deadlock where one signal interrupts
        # another one's handler inside `set`.
        self._cancelled = False
        self._paused = False

    def cancel(self) -> None:
        """Asks the work to stop. Further calls change nothing."""
        self._cancelled = True

    def is_cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def pause(self) -> None:
        """Asks the work to rest until `resume`. It can be cancelled meanwhile."""
        self._paused = True

    def resume(self) -> None:
        """Has the work go on."""
        self._paused = False

    def is_paused(self) -> bool:
        """Whether the work is to rest."""
        return self._paused
