"""What the package raises of its own, and what each error carries.

| class | also | `errno` | `filename` | `report` |
|---|---|---|---|---|
| `NotARepoError` | `FileNotFoundError` | `ENOENT` | the path that was given | |
| `LockTimeoutError` | `BlockingIOError` | `EAGAIN` | the lock file | what was done |
| `UnsupportedRepoError` | | | | what was done |
| `CorruptRepoError` | | | | what was done |
| `UnknownRefError` | `LookupError` | | | |
| `StalePlanError` | | | | |
| `PartialCleanupError` | | | | what was done |
| `OperationCancelled` | | | | what was done |
| `OstreeSweepError` | | | | what was done |
| `OSError` and its classes | | the kernel's: `EACCES`, `ENOSPC`, `EROFS` | the file | what was done |

`report` is a `CleanupReport` after a cleanup, a `PruneReport` after a prune; None: nothing was deleted.
That of `OperationCancelled` is None only if the call had not begun to work; later it may be all zeros.
`report.unfinished` then says "it was cancelled", or after another error "an error stopped it".
An `OSError` that Python raised itself has no such attribute.

A `LockTimeoutError` is no `TimeoutError`: that is what `asyncio.wait_for` raises for its own deadline.
"""

from __future__ import annotations

from .hints import Optional
from .reports import PruneReport


class OstreeSweepError(Exception):
    """The root of the package's errors, and libostree's own errors.

    Attributes:
        report: what was done before the error, by a cleanup a `CleanupReport`; None: nothing was deleted.
    """

    report: Optional[PruneReport] = None


class NotARepoError(OstreeSweepError, FileNotFoundError):
    """The path leads to no OSTree repository, or to no sysroot.

    Attributes:
        errno: `ENOENT`.
        filename: the path.
    """

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class UnsupportedRepoError(OstreeSweepError):
    """The repository has a mode or a setting that this version doesn't know; nothing was deleted."""


class CorruptRepoError(OstreeSweepError):
    """A reachable object is missing or can't be decoded; nothing was deleted.

    Attributes:
        object_name: `CHECKSUM.TYPE` of the object.
    """

    def __init__(self, message: str, object_name: str) -> None:
        super().__init__(message, object_name)
        self.object_name = object_name

    def __str__(self) -> str:
        return str(self.args[0])


class UnknownRefError(OstreeSweepError, LookupError):
    """The caller named a ref, a pattern, a commit or an object that the repository doesn't have.

    Nothing was deleted. A policy's rule and `only_branches` name refs, too.

    Attributes:
        name: the name, as it was given.
    """

    def __init__(self, message: str, name: str) -> None:
        super().__init__(message, name)
        self.name = name

    def __str__(self) -> str:
        return str(self.args[0])


class StalePlanError(OstreeSweepError):
    """A plan can't be used: it is damaged, not to be trusted, or was made for another repository."""


class LockTimeoutError(OstreeSweepError, BlockingIOError):
    """The repository's or the sysroot's lock stayed busy for `lock_timeout_s`.

    The message names the processes that hold it, as far as the caller may see them. This process may be one,
    after `OSTree.Repo.lock_push` or `OSTree.Sysroot.lock`. It is no `TimeoutError`.

    Attributes:
        errno: `EAGAIN`.
        filename: the lock file; None: libostree waited for it and did not say which.
    """

    def __str__(self) -> str:
        return self.strerror or super().__str__()


class PartialCleanupError(OstreeSweepError):
    """All is done but for some items that couldn't be removed.

    Attributes:
        report: what was done; `report.failures` names every item that is left.
    """

    report: PruneReport

    def __init__(self, report: PruneReport) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        first, *others = self.report.failures
        more = f" (and {len(others)} more)" if others else ""
        return f"cannot remove {first.path}: {first.error}{more}"


class OperationCancelled(OstreeSweepError):  # noqa: N818 - named for what happened: it's no fault
    """The work was cancelled and has stopped; no lock is held any more.

    Attributes:
        report: what was done until then, by a cleanup a `CleanupReport`, which may be all zeros; None: it
            had not begun to work.
    """

    def __init__(self, report: Optional[PruneReport] = None) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return "the operation was cancelled"

    def __repr__(self) -> str:
        # A report's own is a screenful.
        return f"OperationCancelled({'' if self.report is None else 'report=...'})"
