"""Which processes hold a lock, as far as `/proc` shows them.

`/proc/locks` names no process for an open-file-description lock; the processes' own descriptors do.
"""

from __future__ import annotations

import contextlib
import os

from .hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypedDict

    class LockHolder(TypedDict):
        """A process that holds a lock."""

        path: str
        kind: str
        pid: int
        command: str


def holders(path: str) -> list[LockHolder]:
    """The processes that hold a lock on a file. Those of others show to root only."""
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found: list[LockHolder] = []
    for descriptor in _descriptors():
        # Processes come and go, and many are none of our business.
        with contextlib.suppress(OSError, ValueError):
            if os.path.samestat(os.stat(descriptor), wanted):
                kind = _kind(descriptor.replace("/fd/", "/fdinfo/"))
                pid = int(descriptor.split("/")[2])
                if kind is not None:
                    found.append({"path": path, "kind": kind, "pid": pid, "command": _command(pid)})
    return found


def held_by(path: str, before: str) -> str:
    """Who holds a lock, behind `before`, for people to read; nothing where nobody is seen to."""
    names = {
        "this process itself, as by OSTree.Repo.lock_push or OSTree.Sysroot.lock"
        if holder["pid"] == os.getpid()
        else f"pid {holder['pid']} ({holder['command'].partition(' ')[0]})"
        for holder in holders(path)
    }
    return f"{before}held by {', '.join(sorted(names))}" if names else ""


def _descriptors() -> Iterator[str]:
    """All processes' descriptors, as far as we may see them."""
    with contextlib.suppress(OSError):
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                yield from (f"/proc/{pid}/fd/{number}" for number in os.listdir(f"/proc/{pid}/fd"))


def _kind(fdinfo: str) -> str | None:
    with open(fdinfo, encoding="utf-8") as file:
        for line in file:
            # Those of flock(2) keep nobody out who takes locks as libostree does.
            if line.startswith("lock:") and " FLOCK " not in line:
                return "exclusive" if " WRITE " in line else "shared"
    return None


def _command(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read().rstrip(b"\0").split(b"\0")
    return " ".join(map(os.fsdecode, words))
