"""Clean up after OSTree updates, and prune OSTree repositories.

>>> from ostree_sweep import auto_cleanup, request_cleanup
>>> note = request_cleanup()  # doctest: +SKIP
>>> report = auto_cleanup()  # doctest: +SKIP

`ostree_sweep.aio` has the same calls, awaitable. `ostree_sweep.errors` has what each error carries.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` takes a quarter of the time that Python takes to start
if TYPE_CHECKING:
    from . import aio
    from .aliases import Impact, Phase
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
        UnknownRefError,
        UnsupportedRepoError,
    )
    from .plans import Dropped, ObjectTotal, PlanRoot, PrunePlan, TmpTotal
    from .progress import Progress
    from .reports import (
        CleanupReport,
        DanglingRef,
        Failure,
        ObjectTally,
        PrunedCommit,
        PrunedItem,
        PruneReport,
    )
    from .retention import Keep, Policy
    from .stamp import StampNote, request_cleanup
    from .views import Explanation, Holder, StoredFiles, StoredObjects, Usage, Way, usage, why

    __version__: str

__all__ = [
    "Cancellable",
    "CancellationToken",
    "CleanupReport",
    "CorruptRepoError",
    "DanglingRef",
    "Dropped",
    "Explanation",
    "Failure",
    "Holder",
    "Impact",
    "Keep",
    "LockTimeoutError",
    "NotARepoError",
    "ObjectTally",
    "ObjectTotal",
    "OperationCancelled",
    "OstreeSweepError",
    "PartialCleanupError",
    "Phase",
    "PlanRoot",
    "Policy",
    "Progress",
    "PrunePlan",
    "PruneReport",
    "PrunedCommit",
    "PrunedItem",
    "StalePlanError",
    "StampNote",
    "StoredFiles",
    "StoredObjects",
    "TmpTotal",
    "UnknownRefError",
    "UnsupportedRepoError",
    "Usage",
    "Way",
    "aio",
    "apply",
    "auto_cleanup",
    "cleanup",
    "plan",
    "prune",
    "request_cleanup",
    "usage",
    "why",
]

# Loaded on first use: who only wants one of them, or runs the command, does not wait for the others.
_MODULES = {
    "Cancellable": "cancellation",
    "CancellationToken": "cancellation",
    "CleanupReport": "reports",
    "CorruptRepoError": "errors",
    "DanglingRef": "reports",
    "Dropped": "plans",
    "Explanation": "views",
    "Failure": "reports",
    "Holder": "views",
    "Impact": "aliases",
    "Keep": "retention",
    "LockTimeoutError": "errors",
    "NotARepoError": "errors",
    "ObjectTally": "reports",
    "ObjectTotal": "plans",
    "OperationCancelled": "errors",
    "OstreeSweepError": "errors",
    "PartialCleanupError": "errors",
    "Phase": "aliases",
    "PlanRoot": "plans",
    "Policy": "retention",
    "Progress": "progress",
    "PrunePlan": "plans",
    "PruneReport": "reports",
    "PrunedCommit": "reports",
    "PrunedItem": "reports",
    "StalePlanError": "errors",
    "StampNote": "stamp",
    "StoredFiles": "views",
    "StoredObjects": "views",
    "TmpTotal": "plans",
    "UnknownRefError": "errors",
    "UnsupportedRepoError": "errors",
    "Usage": "views",
    "Way": "views",
    "apply": "api",
    "auto_cleanup": "api",
    "cleanup": "api",
    "plan": "api",
    "prune": "api",
    "request_cleanup": "stamp",
    "usage": "views",
    "why": "views",
}


# Type checkers would take any misspelt name for one of the package's.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("ostree-sweep")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name == "aio":
            return import_module(".aio", __name__)
        return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
