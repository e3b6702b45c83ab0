"""Clean up after OSTree updates, and prune OSTree repositories.

>>> from ostree_sweep import auto_cleanup
>>> report = auto_cleanup()  # doctest: +SKIP

The same calls, awaitable, are in `ostree_sweep.aio`; the note that cleanup is due is `ostree_sweep.stamp`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes a quarter of the time that Python takes to start
if TYPE_CHECKING:
    from .api import apply, auto_cleanup, cleanup, plan, prune
    from .cancellation import Cancellable, CancellationToken
    from .errors import (
        CorruptRepoError,
        LockTimeoutError,
        NotARepoError,
        OperationCancelled,
        OstreeSweepError,
        PartialCleanupError,
        StalePlanError,
        UnsupportedRepoError,
    )
    from .plans import Dropped, ObjectTotal, PlanRoot, PrunePlan
    from .progress import Progress
    from .reports import CleanupReport, Failure, ObjectTally, PrunedItem, PruneReport
    from .retention import Keep, Policy
    from .views import Explanation, Holder, Usage, Way, usage, why

__all__ = [
    "Cancellable",
    "CancellationToken",
    "CleanupReport",
    "CorruptRepoError",
    "Dropped",
    "Explanation",
    "Failure",
    "Holder",
    "Keep",
    "LockTimeoutError",
    "NotARepoError",
    "ObjectTally",
    "ObjectTotal",
    "OperationCancelled",
    "OstreeSweepError",
    "PartialCleanupError",
    "PlanRoot",
    "Policy",
    "Progress",
    "PrunePlan",
    "PruneReport",
    "PrunedItem",
    "StalePlanError",
    "UnsupportedRepoError",
    "Usage",
    "Way",
    "apply",
    "auto_cleanup",
    "cleanup",
    "plan",
    "prune",
    "usage",
    "why",
]

# Loaded on first use: who only wants one of them, or runs the command, does not wait for the others.
_MODULES = {
    "Cancellable": "cancellation",
    "CancellationToken": "cancellation",
    "CleanupReport": "reports",
    "CorruptRepoError": "errors",
    "Dropped": "plans",
    "Explanation": "views",
    "Failure": "reports",
    "Holder": "views",
    "Keep": "retention",
    "LockTimeoutError": "errors",
    "NotARepoError": "errors",
    "ObjectTally": "reports",
    "ObjectTotal": "plans",
    "OperationCancelled": "errors",
    "OstreeSweepError": "errors",
    "PartialCleanupError": "errors",
    "PlanRoot": "plans",
    "Policy": "retention",
    "Progress": "progress",
    "PrunePlan": "plans",
    "PruneReport": "reports",
    "PrunedItem": "reports",
    "StalePlanError": "errors",
    "UnsupportedRepoError": "errors",
    "Usage": "views",
    "Way": "views",
    "apply": "api",
    "auto_cleanup": "api",
    "cleanup": "api",
    "plan": "api",
    "prune": "api",
    "usage": "views",
    "why": "views",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
