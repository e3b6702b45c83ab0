"""Clean up after OSTree updates, and prune OSTree repositories.

>>> from ostree_sweep import auto_cleanup
>>> report = auto_cleanup()  # doctest: +SKIP

The same calls, awaitable, are in `ostree_sweep.aio`; the note that cleanup is due is `ostree_sweep.stamp`.
"""

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
