"""The package's calls for asyncio: the same names, arguments and errors as in `ostree_sweep`, awaitable.

The work runs in a thread of its own. Cancelling the task cancels the work and waits until it has stopped and
every lock is free. `progress` is called in the event loop's thread, so what it raises goes to the loop's
exception handler; `cancellable` and `names` are called in the work's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import api
from .cancellation import CancellationToken

if TYPE_CHECKING:
    import os

    from .cancellation import Cancellable
    from .progress import Progress, ProgressCallback
    from .reports import CleanupReport, PruneReport

_Report = TypeVar("_Report")


async def auto_cleanup(
    sysroot: str | os.PathLike[str] = "/",
    *,
    stamp: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    impact: str = "idle",
    jobs: int | None = None,
    lock_timeout_s: float | None = None,
    cancellable: Cancellable | None = None,
    progress: ProgressCallback | None = None,
) -> CleanupReport:
    """`ostree_sweep.auto_cleanup`, awaitable."""
    work = partial(
        api.auto_cleanup,
        sysroot,
        stamp=stamp,
        dry_run=dry_run,
        impact=impact,
        jobs=jobs,
        lock_timeout_s=lock_timeout_s,
    )
    return await _run(work, cancellable, progress)


async def cleanup(
    sysroot: str | os.PathLike[str] = "/",
    *,
    stamp: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    impact: str = "balanced",
    jobs: int | None = None,
    lock_timeout_s: float | None = None,
    cancellable: Cancellable | None = None,
    progress: ProgressCallback | None = None,
) -> CleanupReport:
    """`ostree_sweep.cleanup`, awaitable."""
    work = partial(
        api.cleanup,
        sysroot,
        stamp=stamp,
        dry_run=dry_run,
        impact=impact,
        jobs=jobs,
        lock_timeout_s=lock_timeout_s,
    )
    return await _run(work, cancellable, progress)


async def prune(
    repo: str | os.PathLike[str],
    *,
    refs_only: bool = False,
    depth: int = -1,
    dry_run: bool = False,
    impact: str = "full",
    jobs: int | None = None,
    lock_timeout_s: float | None = None,
    names: Callable[[str], object] | None = None,
    cancellable: Cancellable | None = None,
    progress: ProgressCallback | None = None,
) -> PruneReport:
    """`ostree_sweep.prune`, awaitable."""
    work = partial(
        api.prune,
        repo,
        refs_only=refs_only,
        depth=depth,
        dry_run=dry_run,
        impact=impact,
        jobs=jobs,
        lock_timeout_s=lock_timeout_s,
        names=names,
    )
    return await _run(work, cancellable, progress)


class _TaskCancellable:
    """Cancelled with the task, or by the caller's own cancellable."""

    def __init__(self, callers: Cancellable | None) -> None:
        self.task = CancellationToken()
        self._callers = callers

    def is_cancelled(self) -> bool:
        return self.task.is_cancelled() or (self._callers is not None and self._callers.is_cancelled())


async def _run(
    work: Callable[..., _Report], cancellable: Cancellable | None, progress: ProgressCallback | None
) -> _Report:
    loop = asyncio.get_running_loop()
    stop = _TaskCancellable(cancellable)
    callbacks: dict[str, Any] = {"cancellable": stop}
    if progress is not None:

        def in_loop(value: Progress) -> None:
            loop.call_soon_threadsafe(progress, value)

        callbacks["progress"] = in_loop

    # The loop's default executor may be busy: the work, and its cancellation, would wait for a thread.
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ostree-sweep")
    try:
        running = loop.run_in_executor(thread, partial(work, **callbacks))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            stop.task.cancel()
            while not running.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([running])
            raise
    finally:
        thread.shutdown(wait=False)
