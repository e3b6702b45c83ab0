"""Clean up after OSTree updates, and prune OSTree repositories.

>>> from ostree_sweep import auto_cleanup
>>> report = auto_cleanup()  # doctest: +SKIP

The same calls, awaitable, are in `ostree_sweep.aio`; the note that cleanup is due is `ostree_sweep.stamp`.
"""

from .api import auto_cleanup, cleanup, prune
from .cancellation import Cancellable, CancellationToken
from .errors import (
    CorruptRepoError,
    LockTimeoutError,
    NotARepoError,
    OperationCancelled,
    OstreeSweepError,
    PartialCleanupError,
    UnsupportedRepoError,
)
from .progress import Progress
from .reports import CleanupReport, Failure, ObjectTally, PruneReport
from .retention import Keep, Policy

__all__ = [
    "Cancellable",
    "CancellationToken",
    "CleanupReport",
    "CorruptRepoError",
    "Failure",
    "Keep",
    "LockTimeoutError",
    "NotARepoError",
    "ObjectTally",
    "OperationCancelled",
    "OstreeSweepError",
    "PartialCleanupError",
    "Policy",
    "Progress",
    "PruneReport",
    "UnsupportedRepoError",
    "auto_cleanup",
    "cleanup",
    "prune",
]
