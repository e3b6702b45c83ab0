"""`ostree-sweep status --repo=PATH`: a repository that stands alone."""

from __future__ import annotations

import os

from .. import api, disk, views
from ..errors import LockTimeoutError
from ..frozen import to_dict
from ..hints import TYPE_CHECKING
from ..locks import holders
from .headline import of_repository
from .output import Result
from .table import counted, facts_lines, leftover_files_text, lock_text, size

if TYPE_CHECKING:
    from typing import Any

    from .signals import WorkSignals


def repository_status(repo: str, signals: WorkSignals, *, only_check: bool) -> Result:
    """What a repository holds, who holds its lock, and what a prune would free. Waits for nobody."""
    with signals.progress() as progress:
        used = views.usage(repo, lock_timeout_s=0, cancellable=signals.token, progress=progress)
    unreachable = _unreachable(repo, signals)
    locked = holders(os.path.join(repo, ".lock"))
    refs = sum(len(each.refs) for each in used.holders if each.kind != "remote")
    free = disk.free_bytes(repo)
    first = of_repository(repo, unreachable, used)
    data = {
        **to_dict(first),
        "repo": repo,
        "lock_holders": locked,
        "refs": refs,
        "total": to_dict(used.total),
        "deltas": used.deltas and to_dict(used.deltas),
        "tmp": used.tmp and to_dict(used.tmp),
        "leftover_files": used.leftover_files and to_dict(used.leftover_files),
        "unreachable": unreachable,
        "unreferenced": to_dict(used.garbage),
        "unreferenced_commits": used.unreferenced_commits,
        "free_bytes": free,
    }
    if only_check:
        return Result([first.summary], data, tone=first.tone, exit_status=first.exit_status)
    by_prune = (
        f"unknown: {unreachable['error']}"
        if "error" in unreachable
        else f"{size(unreachable['disk_bytes'])} in {counted(unreachable['objects'], 'object')}: "
        "'prune' deletes them"
    )
    facts = {
        "Repository": os.path.abspath(repo),
        "Lock": lock_text(locked, "free"),
        "Refs": str(refs),
        "Total": f"{size(used.total.disk_bytes)} in {counted(used.total.objects, 'object')}",
        "Unreachable": by_prune,
        "Unreferenced": f"{size(used.garbage.disk_bytes)} in {counted(used.garbage.objects, 'object')}: "
        "'prune --refs-only' deletes them",
        "Free": "unknown" if free is None else size(free),
    }
    if found := leftover_files_text(used.leftover_files):
        facts["Leftover files"] = found
    return Result([first.summary, "", *facts_lines(facts)], data, tone=first.tone)


def _unreachable(repo: str, signals: WorkSignals) -> dict[str, Any]:
    """What a prune would delete; while somebody deletes, that it can't be told."""
    try:
        with signals.progress() as progress:
            pruned = api.prune(
                repo, dry_run=True, lock_timeout_s=0, cancellable=signals.token, progress=progress
            )
    except LockTimeoutError as error:
        return {"error": str(error)}
    return {
        "objects": pruned.objects_pruned,
        "bytes": pruned.bytes_freed,
        "disk_bytes": pruned.disk_bytes_freed,
    }
