"""The package's calls. Each blocks until its work is done, with the GIL released.

Common arguments:
    impact: how much other work on the machine may feel: "idle", "balanced" or "full".
    jobs: worker threads; None leaves it to the core.
    lock_timeout_s: for how many seconds to wait for a lock that another process holds. None: the repository's
        `core.lock-timeout-secs`; 0: not at all; negative: for ever.
    lock_slice_s: for how many seconds to hold a lock in one go, about, and keep others waiting.
    cancellable: asked about every 50 ms whether to stop.
    progress: called at most ten times a second, and once at the end for sure.

What a callback or a signal handler raises stops the work as a cancellation does, and goes through then.

Common errors:
    NotARepoError, UnsupportedRepoError, CorruptRepoError: the repository isn't fit; nothing is deleted.
    LockTimeoutError: another process kept a lock.
    OperationCancelled: the cancellable said so; `report` has what was done before.
    PartialCleanupError: done, but for the items that `report.failures` names.
    OSError: input/output failed.
    ValueError: an argument makes no sense.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Callable, TypeVar, cast

from .errors import OperationCancelled, PartialCleanupError
from .progress import Progress, ProgressCallback, Throttle
from .reports import (
    CleanupReport,
    Failure,
    PruneReport,
    cleanup_report,
    not_needed,
    prune_report,
)
from .retention import rules, seconds
from .stamp import CleanupStamp

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Mapping

    from ._core import _PruneReport
    from .cancellation import Cancellable
    from .retention import Date, Policy
    from .stamp import StampSnapshot

_Report = TypeVar("_Report", bound=PruneReport)


def auto_cleanup(
    sysroot: str | os.PathLike[str] = "/",
    *,
    stamp: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    impact: str = "idle",
    jobs: int | None = None,
    lock_timeout_s: float | None = None,
    lock_slice_s: float = 0.1,
    cancellable: Cancellable | None = None,
    progress: ProgressCallback | None = None,
) -> CleanupReport:
    """Cleans a sysroot up if a stamp asks for it, and removes that stamp once all is done.

    Without a stamp it takes no lock, opens no repository, and returns a report with `ran` False. The stamp
    stays after a failure, a cancellation or a dry run, and when somebody asked again meanwhile.

    Args:
        sysroot: a physical root, or the root of a booted deployment.
        stamp: the stamp's path; None: `.cleanup` in the physical root.
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        impact, jobs, lock_timeout_s, lock_slice_s, cancellable, progress: see the module.

    Raises:
        OSError, OstreeSweepError, ValueError: see the module.
    """
    if _stamp(sysroot, stamp).read() is None:
        if progress is not None:
            progress(Progress("done", 0, 0, 0))
        return not_needed()
    return cleanup(
        sysroot,
        stamp=stamp,
        dry_run=dry_run,
        impact=impact,
        jobs=jobs,
        lock_timeout_s=lock_timeout_s,
        lock_slice_s=lock_slice_s,
        cancellable=cancellable,
        progress=progress,
    )


def cleanup(
    sysroot: str | os.PathLike[str] = "/",
    *,
    stamp: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    impact: str = "balanced",
    jobs: int | None = None,
    lock_timeout_s: float | None = None,
    lock_slice_s: float = 0.1,
    cancellable: Cancellable | None = None,
    progress: ProgressCallback | None = None,
) -> CleanupReport:
    """Cleans a sysroot up: what `ostree admin cleanup` does. A stamp is removed as in `auto_cleanup`.

    It takes the sysroot's lock and the repository's, both in short slices, and lets an updater go first.

    Args:
        sysroot: a physical root, or the root of a booted deployment.
        stamp: the stamp's path; None: `.cleanup` in the physical root.
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        impact, jobs, lock_timeout_s, lock_slice_s, cancellable, progress: see the module.

    Raises:
        OSError, OstreeSweepError, ValueError: see the module.
    """
    requested = _stamp(sysroot, stamp)
    found = requested.read()
    from . import core

    work = partial(
        core.cleanup,
        sysroot,
        dry_run=dry_run,
        impact=impact,
        jobs=jobs,
        lock_timeout_s=lock_timeout_s,
        lock_slice_s=lock_slice_s,
    )
    report = _watched(work, cleanup_report, cancellable, progress)
    if found is not None and not dry_run and not report.failures:
        report = _remove_stamp(report, requested, found)
    return _complete(report)


def prune(
    repo: str | os.PathLike[str],
    *,
    refs_only: bool = False,
    depth: int = -1,
    commit_only: bool = False,
    keep_younger_than: Date | None = None,
    retain_branch_depth: Mapping[str, int] | None = None,
    only_branches: Collection[str] = (),
    exclude_refs: Collection[str] = (),
    protect_commits: Collection[str] = (),
    keep_unreferenced_younger_than: Date | None = None,
    policy: Policy | None = None,
    delete_commit: str | None = None,
    static_deltas_only: bool = False,
    max_freed: int | None = None,
    dry_run: bool = False,
    impact: str = "full",
    jobs: int | None = None,
    lock_timeout_s: float | None = None,
    lock_slice_s: float = 0.1,
    names: Callable[[str], object] | None = None,
    cancellable: Cancellable | None = None,
    progress: ProgressCallback | None = None,
) -> PruneReport:
    """Deletes a repository's unreachable objects: what `ostree prune` does, with its options and some more.

    It crawls under the repository's shared lock, and deletes under the exclusive one, held in short slices.

    Args:
        repo: the repository.
        refs_only: only refs keep commits; otherwise every commit does, and keeps what it reaches. Dates,
            branches and policies imply it.
        depth: how many parents of each kept commit are kept too; -1: all.
        commit_only: look at commits only, and leave all that they reach where it is.
        keep_younger_than: of each ref's history, keep the newest commit and those made since this date.
        retain_branch_depth: for single branches, how many parents to keep, whatever else is said; 0 stands
            for no rule of its own, as with `ostree prune`. A policy can say what this can't.
        only_branches: prune only these branches' histories; they must exist.
        exclude_refs: keep these refs' whole histories; they must exist.
        protect_commits: checksums of commits to keep even if no ref leads to them.
        keep_unreferenced_younger_than: keep commits that no ref leads to if they were made, or came here,
            since this date, with all that they reach.
        policy: rules for single refs, in place of depth, dates and branches.
        delete_commit: checksum of a commit to delete, which no ref may lead to; from then on the repository
            keeps tombstones of deleted commits.
        static_deltas_only: of `delete_commit`, delete only the static deltas that lead to it.
        max_freed: stop when this many bytes are freed. Not for dry runs.
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        names: called with the name, `CHECKSUM.TYPE`, of each pruned object.
        impact, jobs, lock_timeout_s, lock_slice_s, cancellable, progress: see the module.

    Raises:
        OSError, OstreeSweepError, ValueError: see the module.
    """
    if delete_commit is not None and dry_run:
        raise ValueError("Cannot specify both --delete-commit and --no-prune")
    if static_deltas_only and delete_commit is None:
        raise ValueError("--static-deltas-only requires --delete-commit")
    if max_freed is not None and dry_run:
        raise ValueError("Cannot specify both --max-freed and --no-prune")
    kept = rules(
        refs_only=refs_only,
        depth=depth,
        keep_younger_than=keep_younger_than,
        retain_branch_depth=retain_branch_depth or {},
        only_branches=only_branches,
        exclude_refs=exclude_refs,
        policy=policy,
    )
    unreferenced = keep_unreferenced_younger_than
    from . import core

    work = partial(
        core.prune,
        repo,
        refs_only=kept.refs_only,
        commit_only=commit_only,
        keep=None if kept.default is None else kept.default.as_tuple(),
        keep_by_ref={name: keep.as_tuple() for name, keep in kept.by_ref.items()},
        required_refs=kept.required,
        protected=list(protect_commits),
        unreferenced_since=None if unreferenced is None else seconds(unreferenced),
        delete_commit=None if static_deltas_only else delete_commit,
        deltas_of=delete_commit if static_deltas_only else None,
        max_freed=max_freed,
        dry_run=dry_run,
        impact=impact,
        jobs=jobs,
        lock_timeout_s=lock_timeout_s,
        lock_slice_s=lock_slice_s,
        names=names,
    )
    return _complete(_watched(work, prune_report, cancellable, progress))


def _stamp(sysroot: str | os.PathLike[str], path: str | os.PathLike[str] | None) -> CleanupStamp:
    return CleanupStamp.for_sysroot(sysroot) if path is None else CleanupStamp(path)


def _remove_stamp(report: CleanupReport, stamp: CleanupStamp, found: StampSnapshot) -> CleanupReport:
    try:
        return dataclasses.replace(report, stamp_removed=stamp.remove(found))
    except OSError as error:
        failure = Failure(stamp.path, error.strerror or str(error))
        return dataclasses.replace(report, failures=(failure,))


def _watched(
    work: Callable[..., _PruneReport],
    report_of: Callable[[_PruneReport], _Report],
    cancellable: Cancellable | None,
    progress: ProgressCallback | None,
) -> _Report:
    """Runs the core's work; what it reports becomes a report of ours, be it done or cancelled."""
    paced = None if progress is None else Throttle(progress)
    cancelled = None if cancellable is None else cancellable.is_cancelled
    try:
        raw = work(cancelled=cancelled, progress=paced)
    except OperationCancelled as stopped:
        if paced is not None:
            paced.flush()
        # The core knows nothing of our dataclasses.
        raw_report = cast("_PruneReport | None", stopped.report)
        raise OperationCancelled(raw_report and report_of(raw_report)) from None
    if paced is not None:
        paced.flush()
    return report_of(raw)


def _complete(report: _Report) -> _Report:
    if report.failures:
        raise PartialCleanupError(report)
    return report
