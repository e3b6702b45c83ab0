"""One piece of the core's work: what it may cost, who watches it, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, TypeVar, cast

from . import checks
from .errors import OperationCancelled, PartialCleanupError
from .progress import Throttle
from .reports import PrunedItem, PruneReport

if TYPE_CHECKING:
    from ._core import _Callbacks as Callbacks
    from ._core import _Effort as Effort
    from .cancellation import Cancellable
    from .progress import ProgressCallback

_Raw = TypeVar("_Raw")
_Result = TypeVar("_Result")
_Report = TypeVar("_Report", bound=PruneReport)


def effort_of(
    impact: str,
    jobs: int | None,
    unlinks_per_s: int | None = None,
    time_budget_s: float | None = None,
    lock_timeout_s: float | None = None,
    lock_slice_s: float = 0.1,
) -> Effort:
    """What the core calls an effort: the arguments that most calls have in common."""
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
    """Runs the core's work; what comes of it becomes a result of ours, be it done or cancelled.

    Raises:
        OperationCancelled: the cancellable said so; its report is a result of ours too.
    """
    checks.callback("progress", progress)
    checks.callback("items", items)
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
    except OperationCancelled as stopped:
        if paced is not None:
            paced.flush()
        # The core knows nothing of our dataclasses.
        raw_report = cast("_Raw | None", stopped.report)
        raise OperationCancelled(cast("PruneReport | None", raw_report and result_of(raw_report))) from None
    if paced is not None:
        paced.flush()
    return result_of(raw)


def complete(report: _Report) -> _Report:
    """The report of work that left nothing behind.

    Raises:
        PartialCleanupError: something could not be removed.
    """
    if report.failures:
        raise PartialCleanupError(report)
    return report
