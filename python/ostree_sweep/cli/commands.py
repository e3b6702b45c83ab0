"""The commands: options to a call of the package, and its outcome to lines and data."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Callable

from .. import api, units
from ..errors import OperationCancelled, OstreeSweepError, StalePlanError
from ..plans import PlanPlaces, PrunePlan, object_names
from ..reports import not_needed
from ..retention import Policy
from ..stamp import CleanupStamp
from . import service
from .arguments import default_repo
from .output import Result, format_size, report_result, show_details

if TYPE_CHECKING:
    import argparse

    from .._core import _Deployment
    from ..plans import Dropped
    from ..retention import RetentionOptions
    from ..stamp import StampSnapshot
    from .signals import WorkSignals


def cleanup(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep cleanup`."""
    call = api.auto_cleanup if options.auto else api.cleanup
    with signals.progress() as progress:
        report = call(
            options.sysroot,
            dry_run=options.dry_run,
            cancellable=signals.token,
            progress=progress,
            **_work_options(options),
        )
    if options.verbose and report.ran:
        show_details(report)
    return report_result(report)


def prune(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep prune`."""
    # With --verbose, names scroll where the bar would be.
    with signals.progress(bar=not options.verbose) as progress:
        report = api.prune(
            options.repo or default_repo(),
            **_retention(options),
            delete_commit=options.delete_commit,
            static_deltas_only=options.static_deltas_only,
            dry_run=options.dry_run,
            names=_print_name if options.verbose else None,
            cancellable=signals.token,
            progress=progress,
            **_work_options(options),
        )
    if options.verbose:
        show_details(report)
    return report_result(report, commit_only=options.commit_only)


def plan(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep plan`."""
    if options.show is not None:
        made = PrunePlan.load(options.show)
    else:
        with signals.progress() as progress:
            made = api.plan(
                options.sysroot,
                repo=options.repo,
                output=options.output,
                cancellable=signals.token,
                progress=progress,
                **(_retention(options) if options.repo is not None else {}),
                **_work_options(options),
            )
    lines = [
        *(_dropped_line(dropped) for dropped in made.dropped),
        f"Would delete: {made.objects} objects, freeing {format_size(made.bytes)}",
    ]
    data = {**dataclasses.asdict(made), "objects": made.objects, "bytes": made.bytes}
    if made.path is not None:
        lines.append(f"Plan: {made.path}")
        if options.verbose:
            data["names"] = object_names(made.path)
            if not options.json:
                for name in data["names"]:
                    _print_name(name)
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
    if options.verbose:
        show_details(report)
    return report_result(report)


def stamp(options: argparse.Namespace, _signals: WorkSignals) -> Result:
    """`ostree-sweep stamp`."""
    requested = CleanupStamp.for_sysroot(options.sysroot)
    if options.if_pending and not _is_pending(options.sysroot):
        return Result(["No deployment is pending."], {"path": None})
    note = requested.request(_deployed(options.sysroot))
    data = {"path": requested.path, **dataclasses.asdict(note)}
    return Result([f"Cleanup requested: {requested.path}"], data, service.STAMPED)


def status(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep status`."""
    from .. import core

    found = core.status(options.sysroot)
    requested = CleanupStamp.for_sysroot(options.sysroot)
    snapshot = requested.read()
    reclaimable = _reclaimable(options.sysroot, signals)
    planned = _planned(options.sysroot)
    data = {
        "sysroot": options.sysroot,
        **found,
        "stamp": snapshot and {"path": requested.path, "note": _note_data(snapshot)},
        "plan": planned,
        "reclaimable": reclaimable,
    }
    lines = [
        *(_deployment_line(deployment) for deployment in found["deployments"]),
        f"Stamp: {_stamp_text(requested, snapshot)}",
        f"Plan: {_plan_text(planned)}",
        f"Repository: {found['repo']}",
        f"Repository lock: {found['repo_lock']}",
        f"Sysroot lock: {'held' if found['sysroot_locked'] else 'free'}",
        f"Reclaimable: {_reclaimable_text(reclaimable)}",
    ]
    return Result(lines, data)


def install_units(options: argparse.Namespace, _signals: WorkSignals) -> Result:
    """`ostree-sweep install-units`."""
    written = units.install(options.root, options.prefix)
    return Result(written, {"written": written})


COMMANDS: dict[str, Callable[[argparse.Namespace, WorkSignals], Result]] = {
    "cleanup": cleanup,
    "prune": prune,
    "plan": plan,
    "apply": apply,
    "stamp": stamp,
    "status": status,
    "install-units": install_units,
}


_WORK_OPTIONS = (
    "impact",
    "jobs",
    "unlinks_per_s",
    "time_budget_s",
    "max_freed",
    "lock_timeout_s",
    "lock_slice_s",
)


def _work_options(options: argparse.Namespace) -> dict[str, Any]:
    """What was given of the options that have their defaults in the package's calls."""
    given = vars(options)
    return {name: given[name] for name in _WORK_OPTIONS if name in given}


def _retention(options: argparse.Namespace) -> RetentionOptions:
    """What was given of what to keep."""
    return {
        "refs_only": options.refs_only,
        "depth": options.depth,
        "commit_only": options.commit_only,
        "keep_younger_than": options.keep_younger_than,
        "retain_branch_depth": dict(options.retain_branch_depth),
        "only_branches": options.only_branches,
        "exclude_refs": options.exclude_refs,
        "protect_commits": options.protect_commits,
        "keep_unreferenced_younger_than": options.keep_unreferenced_younger_than,
        "policy": Policy.load(options.policy) if options.policy else None,
    }


def _print_name(name: str) -> None:
    print(name, file=sys.stderr)


def _is_pending(sysroot: str) -> bool:
    """Whether a deployment other than the booted one boots next, and needs no finalization any more."""
    from .. import core

    return any(found["pending"] and not found["staged"] for found in core.status(sysroot)["deployments"])


def _deployed(sysroot: str) -> list[str]:
    try:
        from .. import core

        return [deployment["checksum"] for deployment in core.status(sysroot)["deployments"]]
    except (OstreeSweepError, OSError, ImportError):
        # That a cleanup is due matters more than after what.
        return []


def _reclaimable(sysroot: str, signals: WorkSignals) -> dict[str, Any]:
    """What a cleanup would free; where that can't be told now, why."""
    try:
        with signals.progress() as progress:
            report = api.cleanup(
                sysroot, dry_run=True, lock_timeout_s=0, cancellable=signals.token, progress=progress
            )
    except OperationCancelled:
        raise
    except (OstreeSweepError, OSError) as error:
        return {"error": str(error)}
    return {"objects": report.objects_pruned, "bytes": report.bytes_freed}


def _planned(sysroot: str) -> dict[str, Any] | None:
    """What the sysroot's own plan says; where it can't be read, why."""
    path = PlanPlaces(sysroot).find()
    if path is None:
        return None
    try:
        made = PrunePlan.load(path)
    except (OstreeSweepError, OSError) as error:
        return {"path": path, "error": str(error)}
    return {"path": path, "made_at": made.made_at, "objects": made.objects, "bytes": made.bytes}


def _plan_text(planned: dict[str, Any] | None) -> str:
    if planned is None:
        return "none"
    if "error" in planned:
        return f"unusable: {planned['error']}"
    return f"{planned['path']} ({planned['objects']} objects, {format_size(planned['bytes'])})"


def _dropped_line(dropped: Dropped) -> str:
    names = ", ".join(dropped.names)
    alone, shared = (
        f"{total.objects} objects, {format_size(total.bytes)}" for total in (dropped.alone, dropped.shared)
    )
    shares = f", and with other dropped commits {shared}" if dropped.shared.objects else ""
    return f"Dropped: {dropped.commit}{f' ({names})' if names else ''}: {alone}{shares}"


def _deployment_line(deployment: _Deployment) -> str:
    name = f"{deployment['stateroot']} {deployment['checksum']}.{deployment['serial']}"
    flags = [name for name, value in deployment.items() if value is True]
    return f"Deployment: {name}" + (f" ({', '.join(flags)})" if flags else "")


def _note_data(snapshot: StampSnapshot) -> dict[str, Any] | None:
    return dataclasses.asdict(snapshot.note) if snapshot.note else None


def _stamp_text(requested: CleanupStamp, snapshot: StampSnapshot | None) -> str:
    if snapshot is None:
        return "none"
    note = snapshot.note
    return requested.path + (f" (made {note.time} in boot {note.boot_id})" if note else "")


def _reclaimable_text(reclaimable: dict[str, Any]) -> str:
    if "error" in reclaimable:
        return f"unknown: {reclaimable['error']}"
    return f"{reclaimable['objects']} objects, {format_size(reclaimable['bytes'])}"
