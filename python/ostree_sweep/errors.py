"""What the package raises of its own. Input/output errors stay `OSError`, with `errno` and `filename` set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .reports import PruneReport


class OstreeSweepError(Exception):
    """The root of the package's errors, and libostree's own errors."""


class NotARepoError(OstreeSweepError):
    """The path is no OSTree repository."""


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


class StalePlanError(OstreeSweepError):
    """A plan can't be used: it is damaged, not to be trusted, or was made for another repository."""


class LockTimeoutError(OstreeSweepError, TimeoutError):
    """Another process kept the repository's or the sysroot's lock for longer than we were to wait."""


class PartialCleanupError(OstreeSweepError):
    """All is done but for some items that couldn't be removed.

    Attributes:
        report: what was done; `report.failures` names every item that is left.
    """

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
        report: what was done until then; None where it was stopped before anything could be deleted.
    """

    def __init__(self, report: PruneReport | None = None) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        return "the operation was cancelled"
