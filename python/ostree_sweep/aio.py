"""The package's calls for asyncio: the same names, arguments and errors as in `ostree_sweep`, awaitable.

The work runs in a thread of its own. Cancelling the task cancels the work and waits until it has stopped and
every lock is free. The `OperationCancelled` with the report of what was done is then the `__cause__` of the
`CancelledError`; a call that its own `cancellable` stops raises the `OperationCancelled` itself.

`progress` is called in the event loop's thread, so what it raises goes to the loop's exception handler;
`cancellable` and `items` are called in the work's thread.
"""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

from . import api, checks, stamp, views
from .cancellation import CancellationToken

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from typing_extensions import ParamSpec

    from .cancellation import Cancellable
    from .hints import ProgressCallback, StrPath
    from .progress import Progress
    from .stamp import StampNote

    _P = ParamSpec("_P")

_Result = TypeVar("_Result")

__all__ = ["apply", "auto_cleanup", "cleanup", "plan", "prune", "request_cleanup", "usage", "why"]


def _like(
    call: Callable[_P, _Result],
) -> Callable[[Callable[[], None]], Callable[_P, Coroutine[Any, Any, _Result]]]:
    """Makes the decorated function that call, to be awaited: with its name, arguments and description.

    Of its arguments, `cancellable` and `progress` are ours to pass on.
    """

    @functools.wraps(call)
    async def awaited(*args: _P.args, **kwargs: _P.kwargs) -> _Result:
        rest: dict[str, Any] = dict(kwargs)
        cancellable = cast("Cancellable | None", rest.pop("cancellable", None))
        progress = cast("ProgressCallback | None", rest.pop("progress", None))
        return await _run(functools.partial(call, *args, **rest), cancellable, progress)

    awaited.__module__ = __name__
    return lambda _: awaited


class _TaskCancellable:
    """Cancelled with the task, or by the caller's own cancellable."""

    def __init__(self, callers: Cancellable | None) -> None:
        self.task = CancellationToken()
        self._callers = callers

    def is_cancelled(self) -> bool:
        return self.task.is_cancelled() or (self._callers is not None and self._callers.is_cancelled())

    def is_paused(self) -> bool:
        asked: Callable[[], bool] | None = getattr(self._callers, "is_paused", None)
        return asked is not None and asked()


async def _run(
    work: Callable[..., _Result], cancellable: Cancellable | None, progress: ProgressCallback | None
) -> _Result:
    checks.callbacks(cancellable, progress)
    loop = asyncio.get_running_loop()
    stop = _TaskCancellable(cancellable)
    callbacks: dict[str, Any] = {"cancellable": stop}
    if progress is not None:

        def in_loop(value: Progress) -> None:
            loop.call_soon_threadsafe(progress, value)

        callbacks["progress"] = in_loop

    return await _in_thread(functools.partial(work, **callbacks), stop.task.cancel)


async def _in_thread(work: Callable[[], _Result], cancel: Callable[[], object]) -> _Result:
    """Does work in a thread; when the task is cancelled, calls `cancel`, and waits for the work to end."""
    loop = asyncio.get_running_loop()
    # The loop's default executor may be busy: the work, and its cancellation, would wait for a thread.
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ostree-sweep")
    try:
        running = loop.run_in_executor(thread, work)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                # Not `shield`: Python 3.14 logs what a shielded future raises after its task was cancelled.
                await asyncio.wait([running])
            except asyncio.CancelledError as error:  # noqa: PERF203 - each waits for the work all the same
                cancel()
                cancelled = error
        if cancelled is not None:
            # Asked for, or asyncio would log that nobody retrieved it.
            raise cancelled from running.exception()
        return running.result()
    finally:
        # The work is done, so this takes no time, and leaves no thread behind.
        thread.shutdown(wait=True)


# Functions and not assignments, so that type checkers take them as declared.
@_like(api.apply)
def apply() -> None:
    """As `ostree_sweep.apply`."""


@_like(api.auto_cleanup)
def auto_cleanup() -> None:
    """As `ostree_sweep.auto_cleanup`."""


@_like(api.cleanup)
def cleanup() -> None:
    """As `ostree_sweep.cleanup`."""


@_like(api.plan)
def plan() -> None:
    """As `ostree_sweep.plan`."""


@_like(api.prune)
def prune() -> None:
    """As `ostree_sweep.prune`."""


@functools.wraps(stamp.request_cleanup, assigned=["__doc__", "__annotations__"])
async def request_cleanup(sysroot: StrPath = "/") -> StampNote:
    """As `ostree_sweep.request_cleanup`, but that a cancelled task waits until the stamp is written."""
    return await _in_thread(functools.partial(stamp.request_cleanup, sysroot), lambda: None)


@_like(views.usage)
def usage() -> None:
    """As `ostree_sweep.usage`."""


@_like(views.why)
def why() -> None:
    """As `ostree_sweep.why`."""
