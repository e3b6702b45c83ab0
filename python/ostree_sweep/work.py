"""One piece of the core's work: what it may cost, who watches it, and what comes of it.

Common arguments:
    impact: how much other work on the machine may notice: "idle", "balanced" or "full".
    jobs: number of worker threads, from 1 to 256; None: as suits the impact.
    unlinks_per_s: delete at most so many files a second; None: no limit.
    time_budget_s: stop after so many seconds, waits for locks and pauses included; the report's `unfinished`
        says so then; None: no limit.
    lock_timeout_s: for how many seconds to wait for a lock that is busy; 0: not at all; negative: for ever;
        None: as the repository's `core.lock-timeout-secs` says.
    lock_slice_s: for about how many seconds to hold a lock in one go, while others wait for it.
    cancellable: an object with `is_cancelled() -> bool`, asked about every 50 ms in the calling thread; if it
        has `is_paused() -> bool`, the work pauses as long as that is true.
    progress: called with a `Progress` at most ten times a second, and once at the end for sure.

What a callback or a signal handler raises stops the work as a cancellation does, and goes through then.

Common errors:
    NotARepoError: the path leads to no repository, or to no sysroot.
    UnsupportedRepoError: the repository has a mode or a setting that is not known; nothing was deleted.
    CorruptRepoError: a reachable object is missing or malformed; nothing more was deleted.
    UnknownRefError: the repository lacks a ref, a commit or an object that was named; nothing was done.
    LockTimeoutError: a lock stayed busy for `lock_timeout_s`.
    OperationCancelled: the cancellable said so; `report` has what was done before.
    PartialCleanupError: done, but for the items that `report.failures` names.
    OstreeSweepError: something else went wrong; the root of the errors above.
    OSError: input or output failed, with `errno` and `filename`.
    TypeError: an argument is of the wrong type; nothing was done.
    ValueError: an argument makes no sense; nothing was done.
"""

from __future__ import annotations

from . import checks
from .errors import LockTimeoutError, OperationCancelled, OstreeSweepError, PartialCleanupError
from .hints import TYPE_CHECKING, Impact
from .progress import Throttle
from .reports import PrunedItem, PruneReport

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from ._core import _Callbacks as Callbacks
    from ._core import _Effort as Effort
    from .cancellation import Cancellable
    from .hints import ProgressCallback

    _Raw = TypeVar("_Raw")
    _Result = TypeVar("_Result")
    _Report = TypeVar("_Report", bound=PruneReport)


def effort_of(
    impact: Impact,
    jobs: int | None,
    unlinks_per_s: int | None = None,
    time_budget_s: float | None = None,
    lock_timeout_s: float | None = None,
    lock_slice_s: float = 0.1,
) -> Effort:
    """What the core calls an effort: the arguments that most calls have in common.

    Raises:
        TypeError, ValueError: one of them makes no sense.
    """
    checks.impact(impact)
    checks.optional_whole("jobs", jobs, 1, 256)
    checks.optional_whole("unlinks_per_s", unlinks_per_s, 1, 2**32 - 1)
    checks.optional_seconds("time_budget_s", time_budget_s)
    checks.optional_seconds("lock_timeout_s", lock_timeout_s, negative="for ever")
    checks.seconds("lock_slice_s", lock_slice_s)
    if lock_slice_s == 0:
        raise ValueError("lock_slice_s must be more than 0")
    return {
        "impact": impact,
        "jobs": jobs,
        "unlinks_per_s": unlinks_per_s,
        "time_budget_s": time_budget_s,
        "lock_timeout_s": lock_timeout_s,
        "lock_slice_s": lock_slice_s,
    }


def run(
    work: Callable[..., _Raw],
    result_of: Callable[[_Raw], _Result],
    cancellable: Cancellable | None,
    progress: ProgressCallback | None,
    items: Callable[[PrunedItem], object] | None = None,
) -> _Result:
    """Runs the core's work; what comes of it, and the report of an error, becomes ours.

    Raises:
        OperationCancelled: the cancellable said so.
        OSError, OstreeSweepError: the work failed.
    """
    checks.callbacks(cancellable, progress, items)
    paced = None if progress is None else Throttle(progress)
    callbacks: Callbacks = {
        "cancelled": None if cancellable is None else cancellable.is_cancelled,
        # Gio.Cancellable has no such thing.
        "paused": getattr(cancellable, "is_paused", None),
        "progress": paced,
        "items": None if items is None else lambda *item: items(PrunedItem(*item)),
    }
    try:
        raw = work(callbacks=callbacks)
    except (OstreeSweepError, OSError) as error:
        if paced is not None:
            paced.flush()
        raw_report: _Raw | None = getattr(error, "report", None)
        # The core knows nothing of our dataclasses, nor who a lock's holder is.
        report: PruneReport | None = raw_report and result_of(raw_report)  # type: ignore[assignment]
        if isinstance(error, OperationCancelled):
            raise OperationCancelled(report) from None
        if isinstance(error, LockTimeoutError):
            error = _named(error)
        if report is not None:
            error.report = report  # type: ignore[union-attr]
        raise error from None
    if paced is not None:
        paced.flush()
    return result_of(raw)


def _named(error: LockTimeoutError) -> LockTimeoutError:
    """The error with the names of those who hold the lock, as far as we may see them."""
    if error.filename is None:
        return error
    # Slow, and seldom needed.
    from .locks import held_by

    by = held_by(error.filename, "; ")
    return LockTimeoutError(error.errno, f"{error.strerror}{by}", error.filename)


def complete(report: _Report) -> _Report:
    """The report of work that left nothing behind.

    Raises:
        PartialCleanupError: something could not be removed.
    """
    if report.failures:
        raise PartialCleanupError(report)
    return report
