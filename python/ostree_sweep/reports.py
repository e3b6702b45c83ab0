"""What a run did: frozen, picklable, with the same fields as the command's `--json`."""

from __future__ import annotations

from collections.abc import Mapping

from .disk import free_bytes
from .frozen import Data, FrozenDict, dataclass
from .hints import TYPE_CHECKING, Optional, StrPath

if TYPE_CHECKING:
    from typing import Any

    from ._core import _PruneReport

_OBJECT_TYPES = (
    "commit",
    "dirmeta",
    "dirtree",
    "file",
    "file-xattrs",
    "file-xattrs-link",
    "payload-link",
)


@dataclass(frozen=True)
class ObjectTally:
    """Objects of one type.

    Attributes:
        total: objects found.
        pruned: of these, the ones that were deleted; in a dry run, that would be.
        bytes_freed: sum of their sizes (`st_size`), in bytes. A file that a checkout still links to
            keeps its space.
    """

    total: int
    pruned: int
    bytes_freed: int


@dataclass(frozen=True)
class Failure:
    """One item that couldn't be removed.

    Attributes:
        path: the item, relative to the repository, or in a cleanup to the sysroot.
        error: why, for people to read.
        errno: the kernel's number for that, as in the module `errno`; None where it was not the kernel.
    """

    path: str
    error: str
    errno: Optional[int] = None


@dataclass(frozen=True)
class PrunedItem:
    """Something that goes, or in a dry run would go.

    Attributes:
        type: a type of object, as in `PruneReport.by_type`, or "static-delta", "delta-index",
            "commitmeta2", "summary", "tmp", "commitmeta", "commitpartial" or "uncompressed-copy".
        name: an object's as `CHECKSUM.TYPE`, or else a path relative to the repository.
        reason: why, for people to read.
    """

    type: str
    name: str
    reason: str


@dataclass(frozen=True)
class DanglingRef(Data):
    """A ref whose commit is missing.

    Attributes:
        name: the ref, as `ostree` writes it.
        commit: checksum of the commit that it refers to.
    """

    name: str
    commit: str


@dataclass(frozen=True)
class PrunedCommit(Data):
    """A commit that a dry run found to go.

    Attributes:
        commit: its checksum.
        name: the ref or deployment that has it in its history, beyond what is kept of it; None: nothing leads
            to it.
        version: the version that it names; None: it names none, or can't be read.
        timestamp: when it was made, in seconds since 1970; None: it can't be read.
    """

    commit: str
    name: Optional[str]
    version: Optional[str]
    timestamp: Optional[int]


@dataclass(frozen=True)
class PruneReport(Data):
    """What a prune did, or in a dry run would do.

    Attributes:
        dry_run: nothing was deleted: the figures say what would be.
        objects_total: objects found in the repository.
        objects_pruned: of these, the ones deleted.
        bytes_freed: sum of the sizes (`st_size`) of the objects that were deleted, and of the files in `tmp`,
            in bytes. A file that a checkout still links to counts.
        by_type: tallies by type of object: "commit", "dirmeta", "dirtree", "file", "payload-link", and the
            "file-xattrs" and "file-xattrs-link" of mode bare-split-xattrs.
        deltas_pruned: static deltas deleted.
        delta_indexes_pruned: indexes of static deltas deleted.
        leftovers_pruned: other files of commits, remotes and checkouts that are gone: flatpak's
            `.commitmeta2`, cached summaries, `.commitpartial` of commits that were missing before, and with
            `leftovers` the files named there.
        tmp_pruned: files and directories deleted in the repository's `tmp`, that interrupted transactions
            left.
        tmp_bytes_freed: sum of the sizes of the files in them, in bytes.
        disk_bytes_freed: the room on disk that all deletions gave back, in bytes: the blocks (`st_blocks`) of
            directories, and of files whose last link was deleted, in checkouts and in /boot, too.
        by_plan: the objects to delete came from a plan and not from a crawl; then `objects_total` is the
            plan's number.
        plan_refused: why a plan that was there was not used; None: it was used, or there was none.
        unfinished: why something that is to go is left: time was over, say, or items could not be removed;
            None: nothing is.
        warnings: what is odd about the options or the repository, and did not stop the run.
        dangling_refs: refs that were ignored, for their commits are missing.
        pruned_commits: in a dry run, the commits that would be deleted, by name, the newest first.
        failures: items that couldn't be removed.
        exclusive_lock_longest_s: the longest that the exclusive lock was held in one go, in seconds.
        exclusive_lock_total_s: for how long it was held in all, in seconds.
        shared_lock_longest_s, shared_lock_total_s: the same of the repository's shared lock.
        sysroot_lock_longest_s, sysroot_lock_total_s: the same of the sysroot's lock.
        duration_s: duration of the run, in seconds.
        free_bytes: what the repository's file system has free for ordinary users after the run, in bytes;
            None: that can't be told, or the run was a dry one.
    """

    dry_run: bool
    objects_total: int
    objects_pruned: int
    bytes_freed: int
    by_type: Mapping[str, ObjectTally]
    deltas_pruned: int
    delta_indexes_pruned: int
    leftovers_pruned: int
    tmp_pruned: int
    tmp_bytes_freed: int
    disk_bytes_freed: int
    by_plan: bool
    plan_refused: Optional[str]
    unfinished: Optional[str]
    warnings: tuple[str, ...]
    dangling_refs: tuple[DanglingRef, ...]
    pruned_commits: tuple[PrunedCommit, ...]
    failures: tuple[Failure, ...]
    exclusive_lock_longest_s: float
    exclusive_lock_total_s: float
    shared_lock_longest_s: float
    shared_lock_total_s: float
    sysroot_lock_longest_s: float
    sysroot_lock_total_s: float
    duration_s: float
    free_bytes: Optional[int]


@dataclass(frozen=True)
class CleanupReport(PruneReport):
    """What a cleanup of a sysroot did, or in a dry run would do.

    Attributes:
        deployments_removed: checkouts of deployments that are no more, each as `STATEROOT/CHECKSUM.SERIAL`.
        container_layers_removed: digests of container layers whose refs were dropped, as asked for by
            `container_layers`.
        ran: False where no stamp asked for a cleanup, so that nothing was done.
        stamp_removed: the cleanup is complete and the stamp that asked for it is gone, or in a dry run would
            be.
    """

    deployments_removed: tuple[str, ...]
    container_layers_removed: tuple[str, ...]
    ran: bool
    stamp_removed: bool


# What only a cleanup's report has.
_OF_SYSROOTS = ("deployments_removed", "container_layers_removed")


def prune_report(raw: _PruneReport, repo: StrPath) -> PruneReport:
    """The core's report of a prune of a repository."""
    return PruneReport(**_fields(raw), free_bytes=_free(raw, repo))


def cleanup_report(raw: _PruneReport, repo: StrPath) -> CleanupReport:
    """The core's report of a cleanup of a repository's sysroot; the stamp is still there."""
    return CleanupReport(
        **_fields(raw),
        free_bytes=_free(raw, repo),
        deployments_removed=tuple(raw["deployments_removed"]),
        container_layers_removed=tuple(raw["container_layers_removed"]),
        ran=True,
        stamp_removed=False,
    )


def not_needed() -> CleanupReport:
    """The report of an automatic cleanup that nobody asked for."""
    return CleanupReport(
        dry_run=False,
        objects_total=0,
        objects_pruned=0,
        bytes_freed=0,
        by_type=FrozenDict({name: ObjectTally(0, 0, 0) for name in _OBJECT_TYPES}),
        deltas_pruned=0,
        delta_indexes_pruned=0,
        leftovers_pruned=0,
        tmp_pruned=0,
        tmp_bytes_freed=0,
        disk_bytes_freed=0,
        by_plan=False,
        plan_refused=None,
        unfinished=None,
        warnings=(),
        dangling_refs=(),
        pruned_commits=(),
        failures=(),
        exclusive_lock_longest_s=0.0,
        exclusive_lock_total_s=0.0,
        shared_lock_longest_s=0.0,
        shared_lock_total_s=0.0,
        sysroot_lock_longest_s=0.0,
        sysroot_lock_total_s=0.0,
        duration_s=0.0,
        free_bytes=None,
        deployments_removed=(),
        container_layers_removed=(),
        ran=False,
        stamp_removed=False,
    )


def did_nothing(report: PruneReport) -> bool:
    """Whether a run deleted nothing that its report counts, nor gave room back."""
    files = report.deltas_pruned + report.delta_indexes_pruned + report.leftovers_pruned + report.tmp_pruned
    of_sysroot = [name for field in _OF_SYSROOTS for name in getattr(report, field, ())]
    return not (report.objects_pruned or files or report.disk_bytes_freed or of_sysroot)


def _free(raw: _PruneReport, repo: StrPath) -> Optional[int]:
    return None if raw["dry_run"] else free_bytes(repo)


def _fields(raw: _PruneReport) -> dict[str, Any]:
    """The fields of a prune's report."""
    return {
        **{name: value for name, value in raw.items() if name not in _OF_SYSROOTS},
        "by_type": FrozenDict({name: ObjectTally(**tally) for name, tally in raw["by_type"].items()}),
        "warnings": tuple(raw["warnings"]),
        "dangling_refs": tuple(DanglingRef(*each) for each in raw["dangling_refs"]),
        "pruned_commits": tuple(PrunedCommit(**each) for each in raw["pruned_commits"]),
        "failures": tuple(Failure(**failure) for failure in raw["failures"]),
    }
