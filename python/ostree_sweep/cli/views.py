"""The commands that only read a repository: `du`, `why` and `policy`."""

from __future__ import annotations

import os

from .. import views
from ..deployed import is_deployed
from ..frozen import to_dict
from ..hints import TYPE_CHECKING
from .bars import with_bars
from .output import Result
from .policies import load_policy
from .table import LEFTOVERS_HINT, counted, short, size, table
from .values import default_repo, default_sysroot

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from ..views import Explanation, RuledRef, StoredFiles, StoredObjects, Usage, Way
    from .signals import WorkSignals

_KINDS = {
    "deployment": "Deployment",
    "remote": "Remote",
    "image": "Image",
    "unneeded-layers": "Container layers",
    "ref": "Ref",
}


def du(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep du`."""
    place = _place(options)
    with signals.progress() as progress:
        found = views.usage(**place, **_looking(options), cancellable=signals.token, progress=progress)

    def taken(space: StoredObjects | StoredFiles) -> int:
        return space.bytes if options.apparent_size else space.disk_bytes

    def total(space: StoredObjects) -> str:
        return f"{size(taken(space))} in {counted(space.objects, 'object')}"

    def files(space: StoredFiles | None) -> str:
        if space is None:
            return "unknown: this user may not read them"
        return f"{size(taken(space))} in {counted(space.files, 'file')}"

    largest = max((taken(each.exclusive) + taken(each.shared) for each in found.holders), default=0)
    lines = []
    for kind, title in _KINDS.items():
        held = [each for each in found.holders if each.kind == kind]
        held.sort(key=lambda each: (taken(each.exclusive), taken(each.shared)), reverse=True)
        rows = [
            (short(each.name), *(size(taken(part)) for part in (each.exclusive, each.shared)))
            for each in held
        ]
        if rows:
            amounts = [(taken(each.exclusive), taken(each.shared)) for each in held]
            drawn = table((title, "Exclusive", "Shared"), rows, right=2)
            lines += [*with_bars(drawn, amounts, largest), ""]
    lines += [f"Total:    {total(found.total)}", f"Garbage:  {total(found.garbage)}"]
    if "repo" in place and found.unreferenced_commits:
        lines.append(f"          {_unreferenced(found, options.depth)}")
    lines += [f"Deltas:   {files(found.deltas)}", f"tmp:      {files(found.tmp)}"]
    if found.leftover_files is None:
        lines.append(f"Leftover: {files(None)}")
    elif found.leftover_files.files:
        lines.append(f"Leftover: {files(found.leftover_files)}: {LEFTOVERS_HINT}")
    return Result(lines, {**place, **found.to_dict()})


def _unreferenced(found: Usage, depth: int) -> str:
    """What deletes commits that no ref leads to: `prune` by itself keeps them."""
    count = counted(found.unreferenced_commits, "commit")
    option = "" if depth == -1 else f" --depth={depth}"
    return f"with {count} that no ref keeps: only 'prune --refs-only{option}' deletes such"


def why(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep why`."""
    place = _place(options)
    # At a prompt one stands in a deployment, and completes names.
    name = f"./{options.object}" if is_deployed(options.object) else options.object
    with signals.progress() as progress:
        found = views.why(name, **place, **_looking(options), cancellable=signals.token, progress=progress)
    data = {**place, **found.to_dict()}
    return Result(_why_lines(found), data)


def policy(options: argparse.Namespace, signals: WorkSignals) -> Result:
    """`ostree-sweep policy`."""
    repo = options.repo or default_repo()
    rules = load_policy(options.check, signals)
    with signals.progress() as progress:
        found = views.check_policy(
            rules, repo, **_looking(options), cancellable=signals.token, progress=progress
        )
    rows = [
        (short(each.name), each.rule or "[default]", _kept(each), str(each.pruned)) for each in found.refs
    ]
    if found.unreferenced:
        rows.append(("(no ref)", "-", "0", str(found.unreferenced)))
    lines = [*table(("Ref", "Rule", "Kept", "Pruned"), rows, right=2), ""] if rows else []
    lines.append(f"Would delete: {found.pruned} commits")
    return Result(lines, {"repo": repo, **to_dict(found)})


def _kept(ruled: RuledRef) -> str:
    """How many commits stay, and the ref for which most of those do that its own rule does not keep."""
    if not ruled.kept_for:
        return str(ruled.kept)
    most = max(ruled.kept_for, key=ruled.kept_for.__getitem__)
    others = "" if len(ruled.kept_for) == 1 else " and others"
    return f"{ruled.kept} ({sum(ruled.kept_for.values())} by {short(most)}{others})"


def _place(options: argparse.Namespace) -> dict[str, Any]:
    """Where to look: by default at the repository one stands in or has set, and else at the sysroot."""
    if options.repo is not None:
        return {"repo": options.repo}
    if options.sysroot is not None:
        return {"sysroot": options.sysroot}
    if default_repo() == "." or os.environ.get("OSTREE_REPO"):
        return {"repo": default_repo()}
    return {"sysroot": default_sysroot()}


def _looking(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name in ("depth", "lock_timeout_s")}


def _why_lines(found: Explanation) -> list[str]:
    lines = [found.object]
    where = {
        "here": f"{size(found.bytes or 0)} in this repository",
        "parent": f"only in the parent repository {found.parent}",
        "nowhere": "not in this repository",
    }[found.place]
    if found.kept_by:
        is_lost = found.place == "nowhere"
        count = f"{len(found.kept_by)} root{'' if len(found.kept_by) == 1 else 's'}"
        lines.append(f"It is {where}, {'though needed' if is_lost else 'kept'} by {count}:")
        lines += [line for way in found.kept_by for line in _way_lines(way)]
    elif found.is_garbage:
        lines.append(f"Garbage: it is {where}, and nothing keeps it.")
    else:
        lines.append(f"It is {where}, and nothing here needs it.")
    if found.beyond_depth_of:
        lines.append(f"Too far back in the history of {', '.join(found.beyond_depth_of)}.")
    if found.dropped_with:
        lines.append("Only commits that are garbage, too, lead to it:")
        lines += [f"  {commit}" for commit in found.dropped_with]
    if found.missing:
        lines.append("What these would lead to is not known, for they are missing:")
        lines += [f"  {name}" for name in found.missing]
    return lines


def _way_lines(way: Way) -> list[str]:
    back = f", {way.generation} back" if way.generation else ""
    lines = [f"  {way.kind} {short(way.name)}", f"    commit {short(way.commit)}{back}"]
    return lines if way.path is None else [*lines, f"    {way.path}"]
