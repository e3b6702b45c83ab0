"""The record of a sysroot's last cleanup: how it ended, and what was left.

It is one block, `ostree/sweep.last` in the physical root, written over in place: so it outlasts a reboot, and
a full disk has room for it once it was made. A record that can't be written is left out.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from functools import partial

from . import log
from .errors import LockTimeoutError, OperationCancelled, PartialCleanupError
from .frozen import dataclass
from .hints import TYPE_CHECKING, Optional, ProgressCallback, StrPath
from .places import physical_root
from .reports import CleanupReport, did_nothing
from .running import announced
from .stamp import boot_id, utc
from .writable import run_writable

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "ostree/sweep.last"
_BLOCK = 4096
_HOLDS = tuple(
    f"{lock}_lock_{kind}_s" for lock in ("exclusive", "shared", "sysroot") for kind in ("longest", "total")
)
_MOST_LEFT = 5
_LONGEST = 300


@dataclass(frozen=True)
class CleanupRecord:
    """How a cleanup ended.

    Attributes:
        version: the version of ostree-sweep.
        boot_id: of the boot that it ran in; None: unknown.
        began_at: when it began, in UTC.
        duration_s: how long it took, in seconds.
        result: "complete", "incomplete" (something is left), "cancelled" or "failed".
        error: what stopped it; None: nothing did.
        deployments_removed: how many deployments' checkouts it removed.
        objects_pruned: how many objects it deleted.
        bytes_freed: sum of the sizes of what it deleted from the repository, in bytes.
        disk_bytes_freed: the room on disk that all its deletions gave back, in bytes.
        exclusive_lock_longest_s: its longest hold of the repository's exclusive lock, in seconds.
        exclusive_lock_total_s: how long it held that lock in all, in seconds.
        shared_lock_longest_s, shared_lock_total_s: the same of the repository's shared lock.
        sysroot_lock_longest_s, sysroot_lock_total_s: the same of the sysroot's lock.
        unfinished: why something was left on purpose.
        failures: how many items could not be removed.
        left: the first of these, each with the reason.
    """

    version: str
    boot_id: Optional[str]
    began_at: str
    duration_s: float
    result: str
    error: Optional[str]
    deployments_removed: int
    objects_pruned: int
    bytes_freed: int
    disk_bytes_freed: int
    exclusive_lock_longest_s: float
    exclusive_lock_total_s: float
    shared_lock_longest_s: float
    shared_lock_total_s: float
    sysroot_lock_longest_s: float
    sysroot_lock_total_s: float
    unfinished: Optional[str]
    failures: int
    left: tuple[str, ...]


def recorded(
    sysroot: StrPath,
    progress: Optional[ProgressCallback],
    work: Callable[[ProgressCallback], CleanupReport],
) -> CleanupReport:
    """Does a cleanup's work, shows meanwhile that it is running, and keeps a record of how it ended.

    Args:
        sysroot: the sysroot.
        progress: who else is told of the progress.
        work: what to do, with the callback that it reports its progress to.

    Raises:
        OSError: there is no such sysroot.
        Exception: what the work raises goes through.
    """
    root = physical_root(sysroot)
    before = last_cleanup(root)
    began, clock = time.time(), time.monotonic()

    def keep(report: Optional[CleanupReport], error: Optional[BaseException]) -> None:
        with contextlib.suppress(OSError):
            made = _record(began, time.monotonic() - clock, report, error)
            found = last_cleanup(root)
            if found != before and _is_outdone(report, error, found):
                return
            run_writable(root, partial(_write, os.path.join(root, _NAME), made))
            log.info("recorded: %s", made.result)

    try:
        with announced(root, began, progress) as announce:
            report = work(announce)
    except BaseException as error:
        done = getattr(error, "report", None)
        keep(done if isinstance(done, CleanupReport) else None, error)
        raise
    keep(report, None)
    return report


def last_cleanup(sysroot: StrPath) -> Optional[CleanupRecord]:
    """The record of the last cleanup; None: there is none that can be read."""
    path = os.path.join(physical_root(sysroot), _NAME)
    try:
        with open(os.open(path, _opening(os.O_RDONLY)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            return _parse(file.read(_BLOCK).decode())
    except (OSError, ValueError, KeyError):
        return None


def _is_outdone(
    report: Optional[CleanupReport], error: Optional[BaseException], by: Optional[CleanupRecord]
) -> bool:
    """Whether a run only waited while another one, whose record is there, did all there was to do."""
    stopped = (OperationCancelled, KeyboardInterrupt, LockTimeoutError)
    has_failed = error is not None and not isinstance(error, stopped)
    if by is None or by.result != "complete" or has_failed:
        return False
    return report is None or (not report.failures and did_nothing(report))


def _record(
    began: float, duration_s: float, report: Optional[CleanupReport], error: Optional[BaseException]
) -> CleanupRecord:
    from . import core

    failures = () if report is None else report.failures
    unfinished = None if report is None else report.unfinished
    if isinstance(error, (OperationCancelled, KeyboardInterrupt)):
        result = "cancelled"
    elif error is not None and not isinstance(error, PartialCleanupError):
        result = "failed"
    else:
        result = "complete" if unfinished is None and not failures else "incomplete"
    is_stopped = result in ("cancelled", "failed")
    return CleanupRecord(
        version=core.VERSION,
        boot_id=boot_id(),
        began_at=utc(began),
        duration_s=round(duration_s, 3),
        result=result,
        error=_short(str(error) or type(error).__name__) if is_stopped else None,
        deployments_removed=0 if report is None else len(report.deployments_removed),
        objects_pruned=0 if report is None else report.objects_pruned,
        bytes_freed=0 if report is None else report.bytes_freed,
        disk_bytes_freed=0 if report is None else report.disk_bytes_freed,
        **{name: 0.0 if report is None else round(getattr(report, name), 6) for name in _HOLDS},
        unfinished=None if is_stopped else unfinished and _short(unfinished),
        failures=len(failures),
        left=tuple(_short(f"{each.path}: {each.error}") for each in failures[:_MOST_LEFT]),
    )


def _short(text: str) -> str:
    """What fits on a line of the record."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _write(path: str, record: CleanupRecord) -> None:
    descriptor = os.open(path, _opening(os.O_WRONLY | os.O_CREAT), 0o644)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.pwrite(descriptor, _content(record), 0)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _opening(flags: int) -> int:
    return flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def _content(record: CleanupRecord) -> bytes:
    """A line for each field that is known: `name=value`. Of what was left as much as there is room for."""
    fields = {name: value for name, value in vars(record).items() if name != "left" and value is not None}
    content = "".join(f"{name}={value}\n" for name, value in fields.items()).encode("utf-8", "replace")
    for item in record.left:
        line = f"left={item}\n".encode("utf-8", "replace")
        if len(content) + len(line) < _BLOCK:
            content += line
    return content.ljust(_BLOCK, b"\n")


def _parse(text: str) -> CleanupRecord:
    lines = [line.partition("=") for line in text.splitlines() if line]
    fields = {name: value for name, _, value in lines}
    return CleanupRecord(
        version=fields["version"],
        boot_id=fields.get("boot_id"),
        began_at=fields["began_at"],
        duration_s=float(fields["duration_s"]),
        result=fields["result"],
        error=fields.get("error"),
        deployments_removed=int(fields["deployments_removed"]),
        objects_pruned=int(fields["objects_pruned"]),
        bytes_freed=int(fields["bytes_freed"]),
        disk_bytes_freed=int(fields["disk_bytes_freed"]),
        **{name: float(fields[name]) for name in _HOLDS},
        unfinished=fields.get("unfinished"),
        failures=int(fields["failures"]),
        left=tuple(value for name, _, value in lines if name == "left"),
    )
