"""Writes the JSON schemas of what each command prints with `--json`: `schemas.py DIRECTORY`.

They are made of the results' own dataclasses and their docstrings. What a command adds is described here.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Optional, TypedDict, Union, get_args, get_origin

from typing_extensions import NotRequired, get_type_hints, is_typeddict

from ostree_sweep import CleanupReport, Explanation, PrunePlan, PruneReport, StampNote, Usage
from ostree_sweep.plans import TmpTotal  # noqa: TC001 - evaluated for its schema
from ostree_sweep.record import CleanupRecord  # noqa: TC001 - evaluated for their schemas
from ostree_sweep.reports import DanglingRef, Failure  # noqa: TC001 - evaluated for their schemas
from ostree_sweep.running import Running  # noqa: TC001
from ostree_sweep.views import PolicyCheck, StoredFiles, StoredObjects

# Fields may be added to a version. One that is removed, or means something else, needs the next.
VERSION = 1


class Repo(TypedDict):
    """Where the command looked.

    Attributes:
        repo: the repository.
    """

    repo: str


class Place(TypedDict):
    """Where the command looked: one of the two is there.

    Attributes:
        repo: the repository.
        sysroot: the sysroot.
    """

    repo: NotRequired[str]
    sysroot: NotRequired[str]


class PlanTotals(TypedDict):
    """What a plan comes to.

    Attributes:
        objects: number of objects to delete.
        bytes: sum of their sizes (`st_size`), in bytes.
        names: with `--verbose`, the names of the objects, each as `CHECKSUM.TYPE`.
    """

    objects: int
    bytes: int
    names: NotRequired[list[str]]


class Garbage(TypedDict):
    """Whether a prune deletes the object.

    Attributes:
        is_garbage: the object is in the repository, and a prune deletes it.
    """

    is_garbage: bool


class StampPath(TypedDict):
    """Where the stamp is.

    Attributes:
        path: the stamp; with `--prepare`, the spare. None: nothing was written, as no deployment is pending.
    """

    path: Optional[str]


class Written(TypedDict):
    """What was installed.

    Attributes:
        written: the paths of the files.
    """

    written: list[str]


class Headline(TypedDict):
    """The first line of `status`.

    Attributes:
        state: "nothing-to-do"; "due": a stamp asks for a cleanup; "reclaimable": space can be freed;
            "running": a cleanup is at work; "blocked": a cleanup would refuse; "unknown": a lock was held.
        summary: the same in a sentence, with the command to run.
    """

    state: Literal["nothing-to-do", "due", "reclaimable", "running", "blocked", "unknown"]
    summary: str


class Deployment(TypedDict):
    """A deployment of the sysroot.

    Attributes:
        index: its place in the boot order; 0 boots by default.
        stateroot: the stateroot.
        checksum: the commit's checksum.
        serial: tells deployments of one commit apart.
        booted: the running system is this one.
        staged: it is finalized at shutdown.
        pinned: it stays until it is unpinned.
        pending: it boots next, and is not booted.
        rollback: it is the one to return to.
        finalization_locked: it is staged, and not finalized at shutdown until it is unlocked.
        soft_reboot_prepared: the next soft reboot leads to it.
        soft_reboot_incomplete: a soft reboot led to it, and `ostree admin boot-complete` has not run yet.
        version: the commit's version; None: it has none.
        image: the container image that it was made from; None: from none.
        exclusive: what nothing else keeps; None: not known.
        shared: what others keep, too; None: not known.
    """

    index: int
    stateroot: str
    checksum: str
    serial: int
    booted: bool
    staged: bool
    pinned: bool
    pending: bool
    rollback: bool
    finalization_locked: bool
    soft_reboot_prepared: bool
    soft_reboot_incomplete: bool
    version: Optional[str]
    image: Optional[str]
    exclusive: Optional[StoredObjects]
    shared: Optional[StoredObjects]


class LockHolder(TypedDict):
    """A process that holds a lock.

    Attributes:
        path: the lock's file.
        kind: how it is held.
        pid: the process.
        command: its command line.
    """

    path: str
    kind: Literal["shared", "exclusive"]
    pid: int
    command: str


class Stamp(TypedDict):
    """The stamp that asks for a cleanup.

    Attributes:
        path: its file.
        note: who asked; None: the stamp is empty or not one of ostree-sweep's.
    """

    path: str
    note: Optional[StampNote]


class UsablePlan(TypedDict):
    """The sysroot's plan.

    Attributes:
        path: its file.
        made_at: when it was made, in seconds since 1970.
        objects: number of objects to delete.
        bytes: sum of their sizes (`st_size`), in bytes.
    """

    path: str
    made_at: int
    objects: int
    bytes: int


class UnusablePlan(TypedDict):
    """A plan that would be refused.

    Attributes:
        path: its file.
        error: why, for people to read.
    """

    path: str
    error: str


class Unknown(TypedDict):
    """A figure that can't be had.

    Attributes:
        error: why, for people to read.
    """

    error: str


class Status(TypedDict):
    """The state of a sysroot.

    Attributes:
        sysroot: the sysroot.
        deployments: its deployments, in boot order.
        repo: its repository.
        repo_lock: how the repository's lock is held; "unknown": the caller may not open the lock file.
        sysroot_locked: the sysroot's lock is held; None: the caller may not open the lock file.
        lock_holders: who holds these locks, as far as the caller may see.
        unreadable_images: container images whose metadata cannot be read, each with the reason.
        leftovers: what a cleanup removes beside objects, relative to the sysroot.
        obstacles: what a cleanup will not be able to remove.
        strays: directories among the deployments that are none; they stay.
        tmp: what interrupted transactions left in the repository's `tmp`, and a cleanup removes.
        stamp: the stamp; None: no cleanup is due.
        plan: the sysroot's plan; None: there is none.
        running: the cleanup that is running; None: none is.
        last_cleanup: how the last cleanup ended; None: it left no record.
        reclaimable: what a cleanup would free.
        leftover_files: what `prune --leftovers` deletes; None: not known.
        dangling_refs: refs that keep nothing, for their commits are missing.
        unneeded_layers: container layers that no image and no deployment needs.
    """

    sysroot: str
    deployments: list[Deployment]
    repo: str
    repo_lock: Literal["free", "shared", "exclusive", "unknown"]
    sysroot_locked: Optional[bool]
    lock_holders: list[LockHolder]
    unreadable_images: list[tuple[str, str]]
    leftovers: list[str]
    obstacles: list[Failure]
    strays: list[str]
    tmp: TmpTotal
    stamp: Optional[Stamp]
    plan: Optional[Union[UsablePlan, UnusablePlan]]
    running: Optional[Running]
    last_cleanup: Optional[CleanupRecord]
    reclaimable: Union[StoredObjects, Unknown]
    leftover_files: Optional[StoredFiles]
    dangling_refs: list[DanglingRef]
    unneeded_layers: UnneededLayers


class Unreachable(TypedDict):
    """What `prune` deletes.

    Attributes:
        objects: number of objects.
        bytes: sum of their sizes (`st_size`), in bytes.
        disk_bytes: the room on disk that this gives back, in bytes.
    """

    objects: int
    bytes: int
    disk_bytes: int


class RepositoryStatus(TypedDict):
    """With `--repo`, the state of a repository.

    Attributes:
        repo: the repository.
        lock_holders: who holds its lock, as far as the caller may see.
        refs: number of refs.
        total: all objects.
        deltas: static deltas and their indexes; None: the process may not read them.
        tmp: unfinished downloads and caches; None: the process may not read them.
        leftover_files: what `prune --leftovers` deletes; None: the process may not read them.
        unreachable: what `prune` deletes.
        unreferenced: what `prune --refs-only` deletes.
        unreferenced_commits: how many commits are among that.
        free_bytes: what the file system has free for ordinary users, in bytes; None: not known.
    """

    repo: str
    lock_holders: list[LockHolder]
    refs: int
    total: StoredObjects
    deltas: Optional[StoredFiles]
    tmp: Optional[StoredFiles]
    leftover_files: Optional[StoredFiles]
    unreachable: Union[Unreachable, Unknown]
    unreferenced: StoredObjects
    unreferenced_commits: int
    free_bytes: Optional[int]


class UnneededLayers(TypedDict):
    """Container layers that no image and no deployment needs.

    Attributes:
        layers: how many.
        objects: number of objects that nothing else keeps.
        bytes: sum of their sizes (`st_size`), in bytes.
        disk_bytes: what they take on the disk, in bytes.
    """

    layers: int
    objects: int
    bytes: int
    disk_bytes: int


class ErrorText(TypedDict):
    """An error.

    Attributes:
        type: the name of its Python class.
        message: what happened, for people to read.
    """

    type: str
    message: str


class Error(TypedDict):
    """What is printed where a command fails.

    Attributes:
        error: the error.
        report: what was done until then; absent where nothing was begun.
    """

    error: ErrorText
    report: NotRequired[Union[CleanupReport, PruneReport]]


# What each command prints: one of these, each with the fields of all its parts.
OUTPUTS: dict[str, list[tuple[type, ...]]] = {
    "cleanup": [(CleanupReport,)],
    "prune": [(PruneReport,)],
    "plan": [(PrunePlan, PlanTotals)],
    "apply": [(CleanupReport,), (PruneReport,)],
    "stamp": [(StampPath, StampNote), (StampPath,)],
    "status": [(Headline, Status), (Headline, RepositoryStatus)],
    "du": [(Place, Usage)],
    "why": [(Place, Explanation, Garbage)],
    "policy": [(Repo, PolicyCheck)],
    "install-units": [(Written,)],
    "error": [(Error,)],
}

_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_ENTRY = re.compile(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)$", re.MULTILINE)


def schema(command: str) -> dict[str, Any]:
    """The schema of what a command prints with `--json`; that of "error" is what it prints where it fails."""
    definitions: dict[str, Any] = {}
    bodies = [_fields(parts, definitions) for parts in OUTPUTS[command]]
    what = "a command that fails" if command == "error" else f"ostree-sweep {command}"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:ostree-sweep:{command}:{VERSION}",
        "title": f"What {what} prints with --json",
        **(bodies[0] if len(bodies) == 1 else {"anyOf": bodies}),
        **({"$defs": dict(sorted(definitions.items()))} if definitions else {}),
    }


def _fields(parts: tuple[type, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for kind in parts:
        described = _described(kind)
        for name, hint in get_type_hints(kind, include_extras=True).items():
            properties[name] = {"description": described[name], **_type(hint, definitions)}
            origin: Any = get_origin(hint)
            if origin is not NotRequired:
                required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _described(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each field."""
    found = {}
    for each in reversed(kind.__mro__):
        for names, entry in _ENTRY.findall(inspect.cleandoc(each.__doc__ or "")):
            text = re.sub(r"\bNone\b", "null", " ".join(entry.split()))
            found.update(dict.fromkeys(names.split(", "), text))
    return found


def _type(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any of typing's forms
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    origin, inner = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return _type(inner[0], definitions)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is Union:
        return {"anyOf": [_type(each, definitions) for each in inner]}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type(inner[1], definitions)}
    if origin is list or (origin is tuple and inner[1:] == (...,)):
        return {"type": "array", "items": _type(inner[0], definitions)}
    if origin is tuple:
        items = [_type(each, definitions) for each in inner]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if dataclasses.is_dataclass(hint) or is_typeddict(hint):
        if hint.__name__ not in definitions:
            definitions[hint.__name__] = {}  # in case that it has itself in it
            definitions[hint.__name__] = _fields((hint,), definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    raise TypeError(f"no schema for {hint}")


def write(directory: Path) -> None:
    """Writes all schemas."""
    directory.mkdir(parents=True, exist_ok=True)
    for command in OUTPUTS:
        text = json.dumps(schema(command), indent=2) + "\n"
        (directory / f"{command}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
