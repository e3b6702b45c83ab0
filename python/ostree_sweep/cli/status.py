"""`ostree-sweep status`: deployments, stamp, plan, locks, and what a cleanup would free."""

from __future__ import annotations

import os

from .. import views
from ..errors import LockTimeoutError, OperationCancelled, OstreeSweepError
from ..frozen import to_dict
from ..hints import TYPE_CHECKING
from ..locks import holders
from ..places import physical_root
from ..plans import PlanPlaces, PrunePlan
from ..record import last_cleanup
from ..running import running
from ..stamp import CleanupStamp
from .headline import of_sysroot
from .output import Result
from .repository import repository_status
from .table import counted, doing, facts_lines, leftover_files_text, lock_text, short, size, table
from .values import default_sysroot

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from ..record import CleanupRecord
    from ..running import Running
    from ..stamp import StampSnapshot
    from ..views import Holder, Usage
    from .signals import WorkSignals

_SYSROOT_LOCK = {False: "free", True: "held", None: "unknown"}


def status(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep status`."""
    if options.repo is not None:
        if options.metrics is not None:
            raise ValueError("--metrics is for a sysroot")
        return repository_status(options.repo, signals, only_check=options.check)
    options.sysroot = default_sysroot() if options.sysroot is None else options.sysroot
    from .. import core

    found = core.status(options.sysroot)
    requested = CleanupStamp.for_sysroot(options.sysroot)
    snapshot = requested.read()
    used = _used(options.sysroot, signals)
    # What is garbage to the one is what the other deletes: a cleanup's roots are those of the view.
    reclaimable = {"error": str(used)} if isinstance(used, Exception) else to_dict(used.garbage)
    leftover = None if isinstance(used, Exception) else used.leftover_files
    planned = _planned(options.sysroot, found["repo"])
    locks = {
        "repo_lock": os.path.join(found["repo"], ".lock"),
        "sysroot_lock": os.path.join(options.sysroot, "ostree/lock"),
    }
    lock_holders = {name: holders(path) for name, path in locks.items()}
    held = {} if isinstance(used, Exception) else {(each.kind, each.name): each for each in used.holders}
    deployments = [{**each, **_held(held.get(("deployment", _name(each))))} for each in found["deployments"]]
    last, now = last_cleanup(options.sysroot), running(physical_root(options.sysroot))
    data = {
        "sysroot": options.sysroot,
        **found,
        "deployments": deployments,
        "lock_holders": [holder for each in lock_holders.values() for holder in each],
        "stamp": snapshot and {"path": requested.path, "note": _note_data(snapshot)},
        "plan": planned,
        "running": now and to_dict(now),
        "last_cleanup": last and to_dict(last),
        "reclaimable": reclaimable,
        "leftover_files": leftover and to_dict(leftover),
        "dangling_refs": []
        if isinstance(used, Exception)
        else [each.to_dict() for each in used.dangling_refs],
        "unneeded_layers": _unneeded_layers(held),
    }
    first = of_sysroot(data, is_busy=isinstance(used, LockTimeoutError))
    data = {**to_dict(first), **data}
    if options.metrics is not None:
        from . import metrics

        metrics.write(options.metrics, options.sysroot, metrics.of_status(data))
    if options.check:
        return Result([first.summary], data, tone=first.tone, exit_status=first.exit_status)

    facts = {
        "Stamp": _stamp_text(requested, snapshot),
        "Plan": _plan_text(planned),
        "Running": _running_text(now),
        "Last cleanup": _last_text(last),
        "Repository": found["repo"],
        "Repository lock": lock_text(lock_holders["repo_lock"], found["repo_lock"]),
        "Sysroot lock": lock_text(lock_holders["sysroot_lock"], _SYSROOT_LOCK[found["sysroot_locked"]]),
        "Reclaimable": _reclaimable_text(reclaimable),
    }
    if not isinstance(used, Exception) and (text := leftover_files_text(leftover)):
        facts["Leftover files"] = text
    facts.update(_image_facts(data))
    rows = [
        (
            short(_name(each)),
            each["version"] or "",
            _flags(each),
            *(_size_text(each[part]) for part in ("exclusive", "shared")),
        )
        for each in deployments
    ]
    titles = ("Deployment", "Version", "State", "Exclusive", "Shared")
    lines = [first.summary, ""]
    if rows:
        lines += [*table(titles, rows, right=2), ""]
    if isinstance(used, Exception):
        facts["Sizes"] = f"unknown: {used}"
    lines += facts_lines(facts)
    dangling = () if isinstance(used, Exception) else used.dangling_refs
    lines += [f"Dangling ref:    {each.name} (its commit {each.commit} is missing)" for each in dangling]
    if left := found["tmp"]["entries"]:
        lines.append(f"Left in tmp:     {counted(left, 'item')}, {size(found['tmp']['bytes'])}")
    lines += [f"Left over:       {path}" for path in found["leftovers"]]
    lines += [f"Cannot remove:   {each['path']}: {each['error']}" for each in found["obstacles"]]
    lines += [f"No checkout:     {path} (it stays)" for path in found["strays"]]
    return Result(lines, data, tone=first.tone)


def _unneeded_layers(held: Mapping[tuple[str, str], Holder]) -> dict[str, Any]:
    """How many container layers no image needs, and what dropping their refs would free."""
    for (kind, _), holder in held.items():
        if kind == "unneeded-layers":
            return {"layers": len(holder.refs), **to_dict(holder.exclusive)}
    return {"layers": 0, "objects": 0, "bytes": 0, "disk_bytes": 0}


def _image_facts(data: Mapping[str, Any]) -> dict[str, str]:
    """What there is to say on a host of container images."""
    facts = {}
    images = dict.fromkeys(each["image"] for each in data["deployments"] if each["image"] is not None)
    if images:
        facts["Deployed image"] = ", ".join(images)
    if (unneeded := data["unneeded_layers"])["layers"]:
        facts["Container layers"] = (
            f"{size(unneeded['disk_bytes'])} in {unneeded['layers']} that no image needs: "
            "run 'ostree-sweep cleanup --container-layers'"
        )
    if unreadable := [f"{name} ({reason})" for name, reason in data["unreadable_images"]]:
        facts["Bad images"] = f"{', '.join(unreadable)}: the host's own tools can't collect layers"
    return facts


def _used(sysroot: str, signals: WorkSignals) -> Usage | Exception:
    """What holds the space; where that is not known, the reason."""
    try:
        with signals.progress() as progress:
            return views.usage(
                sysroot=sysroot, lock_timeout_s=0, cancellable=signals.token, progress=progress
            )
    except OperationCancelled:
        raise
    except (OstreeSweepError, OSError) as error:
        return error


def _held(holder: Holder | None) -> dict[str, Any]:
    parts = ("exclusive", "shared")
    return {part: holder and to_dict(getattr(holder, part)) for part in parts}


def _size_text(total: dict[str, int] | None) -> str:
    return "?" if total is None else size(total["disk_bytes"])


def _name(deployment: Mapping[str, Any]) -> str:
    return f"{deployment['stateroot']} {deployment['checksum']}.{deployment['serial']}"


def _flags(deployment: Mapping[str, Any]) -> str:
    return ", ".join(name.replace("_", " ") for name, value in deployment.items() if value is True) or "-"


def _planned(sysroot: str, repo: str) -> dict[str, Any] | None:
    """What the sysroot's own plan says; where it can't be used, why."""
    from .. import core

    path = PlanPlaces(sysroot).find()
    if path is None:
        return None
    try:
        made = PrunePlan.load(path)
        core.Plan.read(path).check(repo)
    except (OstreeSweepError, OSError) as error:
        return {"path": path, "error": str(error)}
    return {"path": path, "made_at": made.made_at, "objects": made.objects, "bytes": made.bytes}


def _plan_text(planned: dict[str, Any] | None) -> str:
    if planned is None:
        return "none"
    if "error" in planned:
        return f"unusable: {planned['error']}"
    return f"{planned['path']} ({counted(planned['objects'], 'object')}, {size(planned['bytes'])})"


def _note_data(snapshot: StampSnapshot) -> dict[str, Any] | None:
    return to_dict(snapshot.note) if snapshot.note else None


def _stamp_text(requested: CleanupStamp, snapshot: StampSnapshot | None) -> str:
    if snapshot is None:
        return "none"
    note = snapshot.note
    return requested.path + (f" (made {note.time})" if note else "")


def _running_text(now: Running | None) -> str:
    if now is None:
        return "no cleanup"
    of = "" if now.total is None else f" of {now.total}"
    left = "" if now.left_s is None else f", about {now.left_s:.0f} s left in this phase"
    return (
        f"pid {now.pid} since {now.since}, {doing(now)}: {now.done}{of}, {size(now.bytes_freed)} freed{left}"
    )


def _last_text(last: CleanupRecord | None) -> str:
    if last is None:
        return "none recorded"
    reasons = [*filter(None, (last.error, last.unfinished)), *last.left]
    if (more := last.failures - len(last.left)) > 0:
        reasons.append(f"and {more} more")
    why = f" ({'; '.join(reasons)})" if reasons else ""
    return (
        f"{last.result}{why}, {last.began_at}, after {last.duration_s:.1f} s: "
        f"{counted(last.objects_pruned, 'object')}, {size(last.disk_bytes_freed)} freed"
    )


def _reclaimable_text(reclaimable: dict[str, Any]) -> str:
    if "error" in reclaimable:
        return f"unknown: {reclaimable['error']}"
    return f"{counted(reclaimable['objects'], 'object')}, {size(reclaimable['disk_bytes'])}"
