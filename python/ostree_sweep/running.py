"""The note that a cleanup is running: since when, in which phase, and how far.

It is a file in `/run/ostree-sweep`, where there is room even if the disk is full. It is locked by flock(2) as
long as the process lives: without a lock it is a killed process's. A note that can't be written is left out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from contextlib import contextmanager

from .frozen import dataclass
from .hints import TYPE_CHECKING, Optional, ProgressCallback
from .stamp import utc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .progress import Progress

_DIRECTORY = "/run/ostree-sweep"
_INTERVAL_S = 1.0
_BLOCK = 256


@dataclass(frozen=True)
class Running:
    """A cleanup that is running.

    Attributes:
        pid: its process.
        since: when it began, in UTC.
        phase: what it is busy with, as in `Progress`.
        done: steps done in this phase.
        total: steps in this phase; None where that isn't known.
        bytes_freed: bytes freed so far.
        left_s: how many seconds the phase takes still, by its rate so far; None: not known.
        waiting_for: what it waits for at the moment, as in `Progress`.
    """

    pid: int
    since: str
    phase: str
    done: int
    total: Optional[int]
    bytes_freed: int
    left_s: Optional[float]
    waiting_for: Optional[str]


@contextmanager
def announced(root: str, began: float, progress: Optional[ProgressCallback]) -> Iterator[ProgressCallback]:
    """Lets `running` tell of a cleanup of the sysroot at `root`; gives the callback for its progress."""
    path = _path(root)
    note = _opened(path)
    phase, phase_began, next_s = "", 0.0, 0.0

    def see(now: Progress) -> None:
        nonlocal phase, phase_began, next_s
        clock = time.monotonic()
        is_new = now.phase != phase
        if is_new:
            phase, phase_began = now.phase, clock
        if note is not None and (is_new or clock >= next_s):
            next_s = clock + _INTERVAL_S
            _write(note, began, now, clock - phase_began)
        if progress is not None:
            progress(now)

    try:
        yield see
    finally:
        if note is not None:
            with contextlib.suppress(OSError):
                os.unlink(path)
            os.close(note)


def running(root: str) -> Optional[Running]:
    """The cleanup that is running of the sysroot at `root`; None: none is, or it can't be told."""
    try:
        note = os.open(_path(root), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if _is_locked(note):
            return _parse(os.pread(note, _BLOCK, 0).decode("utf-8", "replace"))
    except (OSError, ValueError):
        pass
    finally:
        os.close(note)
    return None


def _path(root: str) -> str:
    status = os.stat(root)
    return os.path.join(_DIRECTORY, f"cleanup-{status.st_dev:x}-{status.st_ino:x}")


def _opened(path: str) -> Optional[int]:
    """The note, to be written, and locked; None where that can't be."""
    try:
        os.makedirs(_DIRECTORY, mode=0o755, exist_ok=True)
        note = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another run has it
        os.close(note)
        return None
    return note


def _is_locked(note: int) -> bool:
    try:
        fcntl.flock(note, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _write(note: int, began: float, now: Progress, phase_s: float) -> None:
    total = -1 if now.total is None else now.total
    figures = f"{os.getpid()} {began} {now.phase} {phase_s} {now.done} {total} {now.bytes_freed}"
    content = f"{figures} {now.waiting_for or ''}".encode("utf-8", "replace")
    with contextlib.suppress(OSError):
        os.pwrite(note, content[:_BLOCK].ljust(_BLOCK), 0)


def _parse(text: str) -> Running:
    pid, began, phase, phase_s, done, total, freed, *waiting = text.split(maxsplit=7)
    left_s = None
    if int(done) > 0 and int(total) >= 0:
        left_s = round(max(int(total) - int(done), 0) * float(phase_s) / int(done), 1)
    return Running(
        pid=int(pid),
        since=utc(float(began)),
        phase=phase,
        done=int(done),
        total=None if int(total) < 0 else int(total),
        bytes_freed=int(freed),
        left_s=left_s,
        waiting_for=waiting[0].rstrip() if waiting else None,
    )
