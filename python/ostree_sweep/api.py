"""The package's calls. Each blocks until its work is done, with the GIL released.

What they have in common, arguments and errors, is described in `work`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial

from . import checks, disk, log
from .cancellation import Cancellable
from .described import described
from .errors import StalePlanError
from .frozen import replace
from .hints import (
    TYPE_CHECKING,
    Date,
    Impact,
    ItemCallback,
    Optional,
    ProgressCallback,
    StrPath,
    Union,
)
from .places import physical_root
from .plans import PlanPlaces, PrunePlan, prune_plan
from .progress import Progress
from .record import recorded
from .reports import (
    CleanupReport,
    Failure,
    PruneReport,
    cleanup_report,
    not_needed,
    prune_report,
)
from .retention import Policy, core_retention
from .stamp import CleanupStamp
from .work import complete, effort_of, run

if TYPE_CHECKING:
    from typing import TypeVar

    from ._core import Plan
    from ._core import _Effort as Effort
    from .retention import RetentionOptions
    from .stamp import StampSnapshot

    _Report = TypeVar("_Report", bound=PruneReport)


@described
def auto_cleanup(
    sysroot: StrPath = "/",
    *,
    stamp: Optional[StrPath] = None,
    container_layers: bool = False,
    max_freed: Optional[int] = None,
    free_until: Optional[Union[int, str]] = None,
    dry_run: bool = False,
    impact: Impact = "idle",
    jobs: Optional[int] = None,
    unlinks_per_s: Optional[int] = None,
    time_budget_s: Optional[float] = None,
    lock_timeout_s: Optional[float] = None,
    lock_slice_s: float = 0.1,
    items: Optional[ItemCallback] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> CleanupReport:
    """Cleans a sysroot up if a stamp asks for it, and removes that stamp once all is done.

    Without a stamp it takes no lock, opens no repository, and returns a report with `ran` False. Where the
    sysroot has a plan that covers all there is to do, it deletes by that; otherwise it crawls. The stamp
    stays after a failure, a cancellation or a dry run, and when somebody asked again meanwhile.

    Args:
        sysroot: a physical root, or the root of a booted deployment.
        stamp: the stamp's path; None: `.cleanup` in the physical root.
        container_layers: also drop the refs of container layers (`ostree/container/blob/…`) that no image
            and no deployment needs, before the repository is pruned; those written within the last hour
            stay, as a pull may be under way.
        max_freed: stop when this many bytes are freed from the repository. A dry run only says whether it
            would stop a real one.
        free_until: stop when the repository's file system has this many bytes free for ordinary users, or
            as text this share of it, as "15%".
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        items: called with each item that goes, or would go, from the repository, and why.
        impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s, cancellable, progress: see
            `work`.

    Raises:
        NotARepoError, UnsupportedRepoError, CorruptRepoError, LockTimeoutError, OperationCancelled,
            PartialCleanupError, OstreeSweepError, OSError, TypeError, ValueError: see `work`.
    """
    effort = effort_of(impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s)
    checks.callbacks(cancellable, progress, items)
    _check_bounds(max_freed, free_until, dry_run)
    if _stamp(sysroot, stamp).read() is None:
        if progress is not None:
            progress(Progress("done", 0, 0, 0))
        return not_needed()
    places = PlanPlaces(sysroot)
    known = places.snapshot()
    return _clean_up(
        sysroot,
        *_own_plan(places),
        known,
        must_cover=True,
        container_layers=container_layers,
        stamp=stamp,
        max_freed=max_freed,
        free_until=free_until,
        dry_run=dry_run,
        effort=effort,
        items=items,
        cancellable=cancellable,
        progress=progress,
    )


@described
def cleanup(
    sysroot: StrPath = "/",
    *,
    stamp: Optional[StrPath] = None,
    container_layers: bool = False,
    max_freed: Optional[int] = None,
    free_until: Optional[Union[int, str]] = None,
    dry_run: bool = False,
    impact: Impact = "balanced",
    jobs: Optional[int] = None,
    unlinks_per_s: Optional[int] = None,
    time_budget_s: Optional[float] = None,
    lock_timeout_s: Optional[float] = None,
    lock_slice_s: float = 0.1,
    items: Optional[ItemCallback] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> CleanupReport:
    """Cleans a sysroot up: what `ostree admin cleanup` does. A stamp is removed as in `auto_cleanup`.

    It takes the sysroot's lock and the repository's, both in short slices, and lets an updater go first.

    Args:
        sysroot: a physical root, or the root of a booted deployment.
        stamp: the stamp's path; None: `.cleanup` in the physical root.
        container_layers: also drop the refs of container layers (`ostree/container/blob/…`) that no image
            and no deployment needs, before the repository is pruned; those written within the last hour
            stay, as a pull may be under way.
        max_freed: stop when this many bytes are freed from the repository. A dry run only says whether it
            would stop a real one.
        free_until: stop when the repository's file system has this many bytes free for ordinary users, or
            as text this share of it, as "15%".
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        items: called with each item that goes, or would go, from the repository, and why.
        impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s, cancellable, progress: see
            `work`.

    Raises:
        NotARepoError, UnsupportedRepoError, CorruptRepoError, LockTimeoutError, OperationCancelled,
            PartialCleanupError, OstreeSweepError, OSError, TypeError, ValueError: see `work`.
    """
    effort = effort_of(impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s)
    checks.callbacks(cancellable, progress, items)
    _check_bounds(max_freed, free_until, dry_run)
    return _clean_up(
        sysroot,
        None,
        None,
        PlanPlaces(checks.path("sysroot", sysroot)).snapshot(),
        must_cover=True,
        container_layers=container_layers,
        stamp=stamp,
        max_freed=max_freed,
        free_until=free_until,
        dry_run=dry_run,
        effort=effort,
        items=items,
        cancellable=cancellable,
        progress=progress,
    )


@described
def plan(
    sysroot: StrPath = "/",
    *,
    repo: Optional[StrPath] = None,
    output: Optional[StrPath] = None,
    refs_only: bool = False,
    depth: int = -1,
    commit_only: bool = False,
    keep_younger_than: Optional[Date] = None,
    retain_branch_depth: Optional[Mapping[str, int]] = None,
    only_branches: Collection[str] = (),
    exclude_refs: Collection[str] = (),
    protect_commits: Collection[str] = (),
    keep_unreferenced_younger_than: Optional[Date] = None,
    policy: Optional[Policy] = None,
    strict: bool = True,
    ignore_missing_commits: bool = False,
    impact: Impact = "idle",
    jobs: Optional[int] = None,
    lock_timeout_s: Optional[float] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> PrunePlan:
    """Lists the objects to delete, so that they can be deleted later without a crawl.

    For a sysroot with a staged deployment that is what a cleanup deletes once it's finalized; without one,
    what a cleanup deletes now. Deletes nothing, and takes the repository's shared lock for a moment.

    Args:
        sysroot: a physical root, or the root of a booted deployment.
        repo: plan a prune of this repository instead.
        output: the file to keep the plan in. None: a sysroot's own place, from which `auto_cleanup` takes
            it; a repository's is not kept then.
        refs_only, depth, commit_only, keep_younger_than, retain_branch_depth, only_branches, exclude_refs,
            protect_commits, keep_unreferenced_younger_than, policy, strict, ignore_missing_commits: for a
            repository, as in `prune`.
        impact, jobs, lock_timeout_s, cancellable, progress: see `work`.

    Raises:
        NotARepoError, UnsupportedRepoError, CorruptRepoError, UnknownRefError, LockTimeoutError,
            OperationCancelled, OstreeSweepError, OSError, TypeError, ValueError: see `work`.
    """
    effort = effort_of(impact, jobs, lock_timeout_s=lock_timeout_s)
    root, file = checks.path("sysroot", sysroot), checks.optional_path("output", output)
    options: RetentionOptions = {
        "refs_only": refs_only,
        "depth": depth,
        "commit_only": commit_only,
        "keep_younger_than": keep_younger_than,
        "retain_branch_depth": {} if retain_branch_depth is None else retain_branch_depth,
        "only_branches": only_branches,
        "exclude_refs": exclude_refs,
        "protect_commits": protect_commits,
        "keep_unreferenced_younger_than": keep_unreferenced_younger_than,
        "policy": policy,
        "strict": strict,
        "ignore_missing_commits": ignore_missing_commits,
    }
    retention = core_retention(**options)
    from . import core

    if repo is not None:
        place = os.path.abspath(checks.path("repo", repo))
        work = partial(core.plan_repo, place, retention=retention, effort=effort)
    elif retention != core_retention():
        raise ValueError("what to keep needs repo: of a sysroot, the deployments say it")
    else:
        work = partial(core.plan_sysroot, os.path.abspath(root), effort=effort)

    def kept(made: Plan) -> PrunePlan:
        path = None
        if file is not None:
            path = os.path.abspath(file)
            made.write(path)
        elif repo is None:
            path = PlanPlaces(sysroot).write(made)
        return prune_plan(made.summary(), path)

    return run(work, kept, cancellable, progress)


@described
def apply(
    plan: Union[PrunePlan, StrPath],
    *,
    sysroot: Optional[StrPath] = None,
    stamp: Optional[StrPath] = None,
    max_freed: Optional[int] = None,
    free_until: Optional[Union[int, str]] = None,
    dry_run: bool = False,
    impact: Impact = "balanced",
    jobs: Optional[int] = None,
    unlinks_per_s: Optional[int] = None,
    time_budget_s: Optional[float] = None,
    lock_timeout_s: Optional[float] = None,
    lock_slice_s: float = 0.1,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> PruneReport:
    """Deletes by a plan what is on it, is still unreachable, and is still the same file.

    What it was made for decides: a sysroot is cleaned up, with a `CleanupReport`, and once nothing is left
    to do its stamp and its own plan are removed; a repository is pruned. `unfinished` says if something is
    left.

    Args:
        plan: the plan, or the file that holds it.
        sysroot: where the plan's sysroot is now; None: where it was.
        stamp: the stamp's path; None: `.cleanup` in the physical root.
        max_freed: stop when this many bytes are freed. A dry run only says whether it
            would stop a real one.
        free_until: stop when the repository's file system has this many bytes free for ordinary users, or
            as text this share of it, as "15%".
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s, cancellable, progress: see
            `work`.

    Raises:
        StalePlanError: the plan is damaged, not to be trusted, made for another repository, or no longer the
            one in its file.
        NotARepoError, UnsupportedRepoError, CorruptRepoError, LockTimeoutError, OperationCancelled,
            PartialCleanupError, OstreeSweepError, OSError, TypeError, ValueError: see `work`.
    """
    effort = effort_of(impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s)
    checks.callbacks(cancellable, progress)
    _check_bounds(max_freed, free_until, dry_run)
    path = plan.path if isinstance(plan, PrunePlan) else checks.path("plan", plan)
    if path is None:
        raise ValueError("plan must be kept in a file: plan() was called with repo and without output")
    from . import core

    loaded = core.Plan.read(path)
    found = prune_plan(loaded.summary(), os.fspath(path))
    if isinstance(plan, PrunePlan) and found != plan:
        raise StalePlanError(f"plan: {os.fspath(path)}: it is no longer the plan that was given")
    if found.sysroot is not None:
        root = found.sysroot if sysroot is None else checks.path("sysroot", sysroot)
        return _clean_up(
            root,
            loaded,
            None,
            PlanPlaces(root).snapshot(),
            must_cover=False,
            container_layers=False,
            stamp=stamp,
            max_freed=max_freed,
            free_until=free_until,
            dry_run=dry_run,
            effort=effort,
            cancellable=cancellable,
            progress=progress,
        )
    work = partial(
        core.apply,
        found.repo,
        plan=loaded,
        max_freed=max_freed,
        free_until=disk.wanted(found.repo, free_until),
        dry_run=dry_run,
        effort=effort,
    )
    return _logged(run(work, partial(prune_report, repo=found.repo), cancellable, progress), found.repo)


@described
def prune(
    repo: StrPath,
    *,
    refs_only: bool = False,
    depth: int = -1,
    commit_only: bool = False,
    keep_younger_than: Optional[Date] = None,
    retain_branch_depth: Optional[Mapping[str, int]] = None,
    only_branches: Collection[str] = (),
    exclude_refs: Collection[str] = (),
    protect_commits: Collection[str] = (),
    keep_unreferenced_younger_than: Optional[Date] = None,
    policy: Optional[Policy] = None,
    strict: bool = True,
    ignore_missing_commits: bool = False,
    delete_commit: Optional[str] = None,
    static_deltas_only: bool = False,
    stale_tmp: bool = False,
    leftovers: bool = False,
    max_freed: Optional[int] = None,
    free_until: Optional[Union[int, str]] = None,
    dry_run: bool = False,
    impact: Impact = "full",
    jobs: Optional[int] = None,
    unlinks_per_s: Optional[int] = None,
    time_budget_s: Optional[float] = None,
    lock_timeout_s: Optional[float] = None,
    lock_slice_s: float = 0.1,
    items: Optional[ItemCallback] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> PruneReport:
    """Deletes a repository's unreachable objects: what `ostree prune` does, with its options and some more.

    It crawls without a lock, and deletes under the repository's exclusive one, held in short slices.

    Args:
        repo: the repository.
        refs_only: only refs keep commits; otherwise every commit does, and keeps what it reaches. Dates,
            branches and policies imply it.
        depth: how many parents of each kept commit are kept too; -1: all.
        commit_only: look at commits only, and leave all that they reach where it is.
        keep_younger_than: of each ref's history, keep the newest commit and those made since this date: text
            as GNU `date` reads it, seconds since 1970, or a `datetime`, which is local time if it is naive.
        retain_branch_depth: for single branches, how many parents to keep, whatever else is said; 0 stands
            for no rule of its own, as with `ostree prune`. A policy can say what this can't.
        only_branches: prune only these branches' histories; names or patterns, each of which matches a ref.
        exclude_refs: keep these refs' whole histories; names or patterns, of which each must match a ref.
        protect_commits: checksums of commits to keep even if no ref leads to them.
        keep_unreferenced_younger_than: keep commits that no ref leads to if they were made, or came here,
            since this date, with all that they reach.
        policy: rules for single refs, in place of depth, dates and branches.
        strict: a name in `retain_branch_depth` that matches no ref is an error, not a warning in the report.
        ignore_missing_commits: go on where a ref's commit is missing, with a warning; otherwise an error, as
            somebody may be about to pull it.
        delete_commit: checksum of a commit to delete, which no ref may name; from then on the repository
            keeps tombstones of deleted commits. If it is inside a branch, no ref leads to the branch's older
            commits any more, and a prune with `refs_only` deletes them; the report's `warnings` say how many.
        static_deltas_only: of `delete_commit`, delete only the static deltas that lead to it.
        stale_tmp: also delete from the repository's `tmp` what interrupted transactions left, by libostree's
            rule: staging directories of other boots, and what is older than `core.tmp-expiry-secs` (a day),
            unless it is locked.
        leftovers: also delete what libostree never does, if it was not changed for `core.tmp-expiry-secs` (a
            day): copies in `uncompressed-objects-cache` that no checkout is linked to, and detached metadata
            (`.commitmeta`) whose commit is missing, unless a ref leads to it or a pull is fetching it.
        max_freed: stop when this many bytes are freed. A dry run only says whether it
            would stop a real one.
        free_until: stop when the repository's file system has this many bytes free for ordinary users, or
            as text this share of it, as "15%".
        dry_run: delete nothing, take no exclusive lock, and report what would be done.
        items: called with each item that goes, or would go, and why.
        impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s, cancellable, progress: see
            `work`.

    Raises:
        NotARepoError, UnsupportedRepoError, CorruptRepoError, UnknownRefError, LockTimeoutError,
            OperationCancelled, PartialCleanupError, OstreeSweepError, OSError, TypeError, ValueError: see
            `work`.
    """
    effort = effort_of(impact, jobs, unlinks_per_s, time_budget_s, lock_timeout_s, lock_slice_s)
    checks.callbacks(cancellable, progress, items)
    _check_bounds(max_freed, free_until, dry_run)
    checks.flag("static_deltas_only", static_deltas_only)
    checks.flag("stale_tmp", stale_tmp)
    checks.flag("leftovers", leftovers)
    checks.optional_text("delete_commit", delete_commit)
    if static_deltas_only and delete_commit is None:
        raise ValueError("static_deltas_only needs delete_commit")
    place = checks.path("repo", repo)
    retention = core_retention(
        refs_only=refs_only,
        depth=depth,
        commit_only=commit_only,
        keep_younger_than=keep_younger_than,
        retain_branch_depth={} if retain_branch_depth is None else retain_branch_depth,
        only_branches=only_branches,
        exclude_refs=exclude_refs,
        protect_commits=protect_commits,
        keep_unreferenced_younger_than=keep_unreferenced_younger_than,
        policy=policy,
        strict=strict,
        ignore_missing_commits=ignore_missing_commits,
    )
    from . import core

    work = partial(
        core.prune,
        place,
        retention=retention,
        delete_commit=None if static_deltas_only else delete_commit,
        deltas_of=delete_commit if static_deltas_only else None,
        stale_tmp=stale_tmp,
        leftovers=leftovers,
        max_freed=max_freed,
        free_until=disk.wanted(place, free_until),
        dry_run=dry_run,
        effort=effort,
    )
    return _logged(run(work, partial(prune_report, repo=place), cancellable, progress, items), place)


def _check_bounds(max_freed: Optional[int], free_until: Optional[Union[int, str]], dry_run: bool) -> None:
    checks.optional_whole("max_freed", max_freed, 0, 2**64 - 1)
    disk.check("free_until", free_until)
    checks.flag("dry_run", dry_run)


def _stamp(sysroot: StrPath, path: Optional[StrPath]) -> CleanupStamp:
    """The stamp of a sysroot that is one, wherever that stamp is."""
    own = CleanupStamp.for_sysroot(checks.path("sysroot", sysroot))
    return own if path is None else CleanupStamp(checks.path("stamp", path))


def _own_plan(places: PlanPlaces) -> tuple[Optional[Plan], Optional[str]]:
    """The plan that a sysroot keeps, or why it can't be used."""
    path = places.find()
    if path is None:
        return None, None
    from . import core

    try:
        return core.Plan.read(path), None
    except (StalePlanError, OSError) as error:
        return None, str(error)


def _clean_up(
    sysroot: StrPath,
    plan: Optional[Plan],
    plan_refused: Optional[str],
    known: Mapping[str, tuple[int, int, int]],
    *,
    must_cover: bool,
    container_layers: bool,
    stamp: Optional[StrPath],
    max_freed: Optional[int],
    free_until: Optional[Union[int, str]],
    dry_run: bool,
    effort: Effort,
    items: Optional[ItemCallback] = None,
    cancellable: Optional[Cancellable],
    progress: Optional[ProgressCallback],
) -> CleanupReport:
    """Cleans up, by the plan if there is one; when all is done, removes the own plan, and then the stamp.

    Both only if they still are what they were: the plans are `known`. While a deployment is staged, plans
    stay: they may be for what there is to do once it's finalized.
    """
    requested, places = _stamp(sysroot, stamp), PlanPlaces(sysroot)
    found, repo = requested.read(), os.path.join(physical_root(sysroot), "ostree/repo")
    from . import core

    def work(progress: Optional[ProgressCallback]) -> CleanupReport:
        # A crawl removes the plan before it deletes; only a complete one may put it back.
        kept = _own_plan(places)[0] if known and not dry_run and _has_staged(sysroot) else None
        call = partial(
            core.cleanup,
            sysroot,
            plan=plan,
            must_cover=must_cover,
            # One that can't be read misleads nobody.
            own_plans=list(places.paths) if plan_refused is None else [],
            container_layers=container_layers,
            max_freed=max_freed,
            free_until=disk.wanted(repo, free_until),
            dry_run=dry_run,
            effort=effort,
        )
        report = run(call, partial(cleanup_report, repo=repo), cancellable, progress, items)
        report = replace(report, plan_refused=plan_refused or report.plan_refused)
        if report.failures or report.unfinished:
            return _logged(report, sysroot)
        if dry_run:
            report = replace(report, stamp_removed=found is not None)
            return _logged(report, sysroot)
        if known and _has_staged(sysroot):
            if kept is not None and places.find() is None:
                places.write(kept)
        elif plan_refused is None:
            failed = places.remove(known)
            report = replace(report, warnings=(*report.warnings, *failed))
        if found is not None:
            report = _remove_stamp(report, requested, found)
        return _logged(report, sysroot)

    return work(progress) if dry_run else recorded(sysroot, progress, work)


def _logged(report: _Report, path: StrPath) -> _Report:
    """Logs what was done, and returns the report if nothing was left behind."""
    if report.plan_refused is not None:
        log.info("the plan was not used: %s", report.plan_refused)
    log.info(
        "%s: %d objects %s, %d bytes in all",
        os.fspath(path),
        report.objects_pruned,
        "would be deleted" if report.dry_run else "deleted",
        report.bytes_freed,
    )
    for failure in report.failures:
        log.info("cannot remove %s: %s", failure.path, failure.error)
    for warning in report.warnings:
        log.info("warning: %s", warning)
    if report.unfinished is not None:
        log.info("something is left: %s", report.unfinished)
    return complete(report)


def _has_staged(sysroot: StrPath) -> bool:
    """Whether a deployment is waiting to be finalized."""
    from . import core

    return any(deployment["staged"] for deployment in core.status(sysroot)["deployments"])


def _remove_stamp(report: CleanupReport, stamp: CleanupStamp, found: StampSnapshot) -> CleanupReport:
    try:
        return replace(report, stamp_removed=stamp.remove(found))
    except OSError as error:
        failure = Failure(stamp.path, error.strerror or str(error), error.errno)
        return replace(report, failures=(failure,), unfinished="the stamp could not be removed")
