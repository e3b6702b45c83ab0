"""The commands: options to a call of the package, and its outcome to lines and data."""

from __future__ import annotations

import os

from .. import api, disk
from ..errors import PartialCleanupError, StalePlanError
from ..frozen import to_dict
from ..hints import TYPE_CHECKING
from ..plans import PlanPlaces, PrunePlan, object_names
from ..reports import CleanupReport, not_needed
from ..stamp import CleanupStamp, request_cleanup
from . import service
from .output import Result, item_printer, report_result, say, show_details, warn
from .policies import listed_commits, load_policy
from .table import size
from .values import default_repo, default_sysroot

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from typing import Any

    from ..plans import Dropped
    from ..reports import PruneReport
    from ..retention import RetentionOptions
    from .signals import WorkSignals


def cleanup(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep cleanup`."""
    call = api.auto_cleanup if options.auto else api.cleanup
    was_full = disk.is_nearly_full(os.path.join(options.sysroot, "ostree/repo"))
    try:
        with signals.progress(bar=not options.verbose) as progress:
            report = call(
                options.sysroot,
                container_layers=options.container_layers,
                dry_run=options.dry_run,
                items=item_printer(options),
                cancellable=signals.token,
                progress=progress,
                **_work_options(options),
            )
    except PartialCleanupError as partial:
        _keep_metrics(options, partial.report)
        raise
    _keep_metrics(options, report)
    if report.ran:
        show_details(report, options)
    return report_result(report, tell_free=was_full, max_freed=vars(options).get("max_freed"))


def prune(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep prune`."""
    # As `ostree` says it, by the names of its options.
    if options.static_deltas_only and options.delete_commit is None:
        raise ValueError("--static-deltas-only requires --delete-commit")
    repo = options.repo or default_repo()
    was_full = disk.is_nearly_full(repo)
    with signals.progress(bar=not options.verbose) as progress:
        report = api.prune(
            repo,
            **{**_retention(options, signals), "strict": options.strict},
            delete_commit=options.delete_commit,
            static_deltas_only=options.static_deltas_only,
            stale_tmp=options.stale_tmp,
            leftovers=options.leftovers,
            dry_run=options.dry_run,
            items=item_printer(options),
            cancellable=signals.token,
            progress=progress,
            **_work_options(options),
        )
    show_details(report, options)
    return report_result(
        report, commit_only=options.commit_only, tell_free=was_full, max_freed=vars(options).get("max_freed")
    )


def plan(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep plan`."""
    if options.show is not None:
        made = PrunePlan.load(options.show)
    else:
        with signals.progress() as progress:
            made = api.plan(
                options.sysroot or default_sysroot(),
                repo=options.repo,
                output=options.output,
                cancellable=signals.token,
                progress=progress,
                **(_retention(options, signals) if options.repo is not None else {}),
                **_work_options(options),
            )
    lines = [
        *_dropped_lines(made.dropped, everything=options.verbose),
        f"Would delete: {made.objects} objects, freeing {size(made.bytes)}",
    ]
    if made.tmp.entries:
        lines.append(f"Would remove from tmp: {made.tmp.entries} items, {size(made.tmp.bytes)}")
    data = made.to_dict()
    if made.path is None:
        lines.append("Plan: not kept, so nothing can apply it; --output=FILE keeps it")
    else:
        lines.append(f"Plan: {made.path}")
        if options.verbose:
            data["names"] = object_names(made.path)
            if not options.json:
                for name in data["names"]:
                    say(name)
    return Result(lines, data, service.PLANNED)


def apply(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep apply`."""
    if options.auto and options.plan is not None:
        raise ValueError("Cannot specify both --auto and a plan")
    path = options.plan or PlanPlaces(options.sysroot).find()
    if options.auto and (path is None or CleanupStamp.for_sysroot(options.sysroot).read() is None):
        return report_result(not_needed())
    if path is None:
        raise StalePlanError(f"{options.sysroot}: there is no plan")
    with signals.progress() as progress:
        report = api.apply(
            path,
            sysroot=options.sysroot if options.plan is None else None,
            dry_run=options.dry_run,
            cancellable=signals.token,
            progress=progress,
            **_work_options(options),
        )
    show_details(report, options)
    return report_result(report, max_freed=vars(options).get("max_freed"))


def stamp(options: argparse.Namespace, _signals: WorkSignals) -> Result:
    """`ostree-sweep stamp`."""
    requested = CleanupStamp.for_sysroot(options.sysroot)
    if options.prepare:
        spare = requested.prepare()
        return Result([f"Prepared: {spare}"], {"path": spare})
    if options.if_pending and not _is_pending(options.sysroot):
        return Result(["No deployment is pending."], {"path": None})
    note = request_cleanup(options.sysroot)
    made = requested.read()
    data = {"path": requested.path, **to_dict(note)}
    empty = " (empty, as the disk is full)" if made is not None and made.note is None else ""
    return Result([f"Cleanup requested: {requested.path}{empty}"], data, service.STAMPED)


def install_units(options: argparse.Namespace, _signals: WorkSignals) -> Result:
    """`ostree-sweep install-units`."""
    # Slow to import.
    from .. import units

    written = units.install(options.root, options.prefix)
    return Result(written, {"written": written})


def _from(module: str, name: str) -> Callable[[argparse.Namespace, WorkSignals], Result]:
    """A command whose module is loaded when it runs."""

    def command(options: argparse.Namespace, signals: WorkSignals) -> Result:
        from importlib import import_module

        result: Result = getattr(import_module(f".{module}", __package__), name)(options, signals)
        return result

    return command


COMMANDS: dict[str, Callable[[argparse.Namespace, WorkSignals], Result]] = {
    "cleanup": cleanup,
    "prune": prune,
    "plan": plan,
    "apply": apply,
    "stamp": stamp,
    "status": _from("status", "status"),
    "du": _from("views", "du"),
    "why": _from("views", "why"),
    "policy": _from("views", "policy"),
    "install-units": install_units,
}


# Of a history's commits, what fits on a screen.
_MOST_DROPPED = 10

_WORK_OPTIONS = (
    "impact",
    "jobs",
    "unlinks_per_s",
    "time_budget_s",
    "max_freed",
    "free_until",
    "lock_timeout_s",
    "lock_slice_s",
)


def _work_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options that have their defaults in the package's calls."""
    given = vars(options)
    return {name: given[name] for name in _WORK_OPTIONS if name in given}


def _retention(options: argparse.Namespace, signals: WorkSignals) -> RetentionOptions:
    """What was given of what to keep."""
    return {
        "refs_only": options.refs_only,
        "depth": options.depth,
        "commit_only": options.commit_only,
        "keep_younger_than": options.keep_younger_than,
        "retain_branch_depth": dict(options.retain_branch_depth),
        "only_branches": options.only_branches,
        "exclude_refs": options.exclude_refs,
        "protect_commits": [*options.protect_commits, *listed_commits(options.protect_commits_from, signals)],
        "keep_unreferenced_younger_than": options.keep_unreferenced_younger_than,
        "policy": load_policy(options.policy, signals) if options.policy is not None else None,
        "ignore_missing_commits": options.ignore_missing_commits,
    }


def _keep_metrics(options: argparse.Namespace, report: PruneReport) -> None:
    if (
        options.metrics is not None
        and isinstance(report, CleanupReport)
        and report.ran
        and not report.dry_run
    ):
        from . import metrics

        try:
            metrics.write(options.metrics, options.sysroot, metrics.of_cleanup(report))
        except OSError as error:
            # The cleanup is done, and its outcome is what counts.
            warn(f"cannot write {options.metrics}: {error.strerror or error}")


def _is_pending(sysroot: str) -> bool:
    """Whether a deployment other than the booted one boots next, and needs no finalization any more."""
    from .. import core

    return any(found["pending"] and not found["staged"] for found in core.status(sysroot)["deployments"])


def _dropped_lines(dropped: tuple[Dropped, ...], *, everything: bool) -> list[str]:
    shown = dropped if everything else dropped[:_MOST_DROPPED]
    lines = [_dropped_line(each) for each in shown]
    if len(shown) < len(dropped):
        lines.append(f"Dropped: {len(dropped) - len(shown)} more commits; --verbose shows all")
    return lines


def _dropped_line(dropped: Dropped) -> str:
    names = ", ".join(dropped.names)
    alone, shared = (
        f"{total.objects} objects, {size(total.bytes)}" for total in (dropped.alone, dropped.shared)
    )
    shares = f", and with other dropped commits {shared}" if dropped.shared.objects else ""
    return f"Dropped: {dropped.commit}{f' ({names})' if names else ''}: {alone}{shares}"
