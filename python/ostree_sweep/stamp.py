"""The stamp: a file that notes, durably, that a sysroot is due for a cleanup.

It's `.cleanup` below the physical root. An empty file made by `touch` is as good as ours, which holds one
line of JSON that says who asked. Only root can write there; still, a stamp is never followed through a
symlink, never waited for, and never read without bound.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from . import checks, log
from .errors import OstreeSweepError
from .frozen import dataclass, replace, to_dict
from .hints import TYPE_CHECKING, Optional, StrPath
from .places import physical_root, stamp_path
from .writable import run_writable

if TYPE_CHECKING:
    from typing import Any

_VERSION = 1
_MAX_BYTES = 64 * 1024
_SPARE = ".spare"
# Attributes of the spare, and bytes of each: together the metadata that btrfs wants free for a new file.
_RESERVE = 256
_RESERVE_PART = 3800
_BOOT_ID = r"[0-9a-f-]{36}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_CHECKSUM = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class StampNote:
    """Who asked for a cleanup.

    Attributes:
        version: version of the note's format.
        boot_id: the kernel's boot id when the stamp was made; None where there was no /proc.
        time: when that was: UTC, as in `2026-01-31T23:59:59Z`.
        deployed: checksums of the commits deployed then; empty where they weren't known.
    """

    version: int
    boot_id: Optional[str]
    time: str
    deployed: tuple[str, ...]


@dataclass(frozen=True)
class StampSnapshot:
    """A stamp as it was when it was read: equal to another one only if nobody asked again in between."""

    device: int
    inode: int
    mtime_ns: int
    ctime_ns: int
    content: bytes

    @property
    def note(self) -> Optional[StampNote]:
        """Who asked; None for an empty stamp, and for what isn't ours."""
        import json

        try:
            return _parse(json.loads(self.content))
        except (ValueError, TypeError, KeyError, RecursionError):
            return None


def request_cleanup(sysroot: StrPath = "/") -> StampNote:
    """Notes durably that a sysroot is due for a cleanup, which `auto_cleanup` then does.

    What `ostree-sweep stamp` does. It takes no lock, and replaces an older stamp.

    Args:
        sysroot: a physical root, or the root of a booted deployment.

    Raises:
        NotARepoError: the path leads to no sysroot.
        OSError: the stamp can't be written.
        TypeError, ValueError: `sysroot` is no path.
    """
    stamp = CleanupStamp.for_sysroot(checks.path("sysroot", sysroot))
    return stamp.request(_deployed(sysroot))


def _deployed(sysroot: StrPath) -> list[str]:
    try:
        from . import core

        return [deployment["checksum"] for deployment in core.status(sysroot)["deployments"]]
    except (OstreeSweepError, OSError, ImportError):
        # That a cleanup is due matters more than after what.
        return []


class CleanupStamp:
    """The stamp at one path. No method takes a lock.

    Attributes:
        path: the stamp's path; there need be no file yet.
    """

    def __init__(self, path: StrPath) -> None:
        self.path: str = os.fspath(path)
        directory, self._name = os.path.split(self.path)
        self._directory = directory or "."

    @classmethod
    def for_sysroot(cls, sysroot: StrPath = "/") -> CleanupStamp:
        """The stamp of a sysroot, which is a physical root or the root of a booted deployment.

        Raises:
            OSError: there is no such sysroot.
        """
        return cls(stamp_path(physical_root(sysroot)))

    def request(self, deployed: Iterable[str] = ()) -> StampNote:
        """Notes durably that a cleanup is due; replaces an older stamp.

        On a full disk the file that `prepare` made becomes the stamp, or a new one without content.

        Args:
            deployed: checksums of the deployed commits, where they are known.

        Returns:
            What the stamp says, or on a full disk would say: there it is empty.

        Raises:
            OSError: the stamp can't be written.
        """
        note = StampNote(_VERSION, boot_id(), utc(time.time()), tuple(deployed))
        import json

        line = json.dumps(to_dict(note)) + "\n"
        noted = run_writable(self._directory, lambda: self._request(line.encode()))
        log.info("cleanup requested: %s" if noted else "cleanup requested on a full disk: %s", self.path)
        return note

    def prepare(self) -> str:
        """Makes durably the file that `request` needs on a full disk, unless it is there; returns its path.

        Raises:
            OSError: it can't be made.
        """
        path = f"{self.path}{_SPARE}"
        if not os.path.lexists(path):
            run_writable(self._directory, partial(self._touch, f"{self._name}{_SPARE}", reserve=_RESERVE))
            log.info("prepared for a full disk: %s", path)
        return path

    def read(self) -> Optional[StampSnapshot]:
        """The stamp as it is; None if there is none.

        Raises:
            OSError: what is there is no regular file, or can't be read.
        """
        try:
            with self._opened_directory() as directory:
                return self._read(self._name, directory)
        except FileNotFoundError:
            return None

    def remove(self, expected: StampSnapshot) -> bool:
        """Removes the stamp durably, if it's still the one that was read; says whether it did.

        Raises:
            OSError: the stamp can't be removed.
        """
        try:
            removed = run_writable(self._directory, lambda: self._remove(expected))
        except FileNotFoundError:
            return False
        log.info("stamp removed: %s" if removed else "stamp stays, as somebody asked again: %s", self.path)
        return removed

    def _request(self, content: bytes) -> bool:
        """Writes the stamp; False if it is empty for want of room."""
        try:
            self._replace(content)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            full = error
        else:
            return True
        for make in (self._take_spare, self._give_up_spare, partial(self._touch, self._name)):
            with contextlib.suppress(OSError):
                make()
                return False
        raise full

    def _take_spare(self) -> None:
        spare = f"{self._name}{_SPARE}"
        with self._opened_directory() as directory:
            self._read(spare, directory)
            os.rename(spare, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    def _give_up_spare(self) -> None:
        """A full btrfs has no room for a rename, but for an unlink, which gives the spare's room back."""
        with self._opened_directory() as directory:
            os.unlink(f"{self._name}{_SPARE}", dir_fd=directory)
            os.fsync(directory)
        self._touch(self._name)

    def _touch(self, name: str, reserve: int = 0) -> None:
        """Makes a file durably, with so many attributes; one that is there gets a new time."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        with self._opened_directory() as directory, _opened(name, flags, directory) as file:
            os.utime(file)
            # Few file systems have room for all, and btrfs is the one that needs them.
            with contextlib.suppress(OSError):
                for number in range(reserve):
                    os.setxattr(file, f"user.reserve{number}", bytes(_RESERVE_PART))
            os.fsync(file)
            os.fsync(directory)

    def _replace(self, content: bytes) -> None:
        scratch = self._scratch_name()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with self._opened_directory() as directory, _opened(scratch, flags, directory) as file:
            try:
                with open(file, "wb", closefd=False) as stream:
                    stream.write(content)
                os.fsync(file)
                os.rename(scratch, self._name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                os.unlink(scratch, dir_fd=directory)
                raise
            os.fsync(directory)

    def _remove(self, expected: StampSnapshot) -> bool:
        with self._opened_directory() as directory:
            if self._read(self._name, directory) != expected:
                return False
            # A stamp that came between a check and an unlink would be lost. So it's moved out of the way,
            # checked there once more, and put back if it's another one. Moving changes the ctime.
            aside = self._scratch_name()
            os.rename(self._name, aside, src_dir_fd=directory, dst_dir_fd=directory)
            same = False
            try:
                moved = self._read(aside, directory)
                same = replace(moved, ctime_ns=expected.ctime_ns) == expected
            finally:
                if same:
                    os.unlink(aside, dir_fd=directory)
                else:
                    os.rename(aside, self._name, src_dir_fd=directory, dst_dir_fd=directory)
                os.fsync(directory)
            return same

    def _read(self, name: str, directory: int) -> StampSnapshot:
        with _opened(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, directory) as file:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "Not a regular file")
            content = os.read(file, _MAX_BYTES)
        return StampSnapshot(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, content)

    @contextmanager
    def _opened_directory(self) -> Iterator[int]:
        """The stamp's directory. What fails in it is put down to the stamp: scratch names mean nothing."""
        try:
            with _opened(self._directory, os.O_RDONLY | os.O_DIRECTORY) as directory:
                yield directory
        except OSError as error:
            reason = "Is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise OSError(error.errno, reason, self.path) from None

    def _scratch_name(self) -> str:
        return f"{self._name}.{os.urandom(8).hex()}"


@contextmanager
def _opened(name: str, flags: int, directory: Optional[int] = None) -> Iterator[int]:
    descriptor = os.open(name, flags | os.O_CLOEXEC, 0o644, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _parse(data: Any) -> Optional[StampNote]:  # noqa: ANN401 - JSON can be anything
    """The note in parsed JSON: it's printed on terminals, so each field must look as we write it."""
    from re import fullmatch

    version, boot_id, when, deployed = (data[key] for key in ("version", "boot_id", "time", "deployed"))
    ours: bool = (
        type(version) is int
        and version == _VERSION
        and (boot_id is None or fullmatch(_BOOT_ID, boot_id) is not None)
        and fullmatch(_TIME, when) is not None
        and isinstance(deployed, list)
        and all(fullmatch(_CHECKSUM, checksum) for checksum in deployed)
    )
    return StampNote(version, boot_id, when, tuple(deployed)) if ours else None


def boot_id() -> Optional[str]:
    """The kernel's name for this boot; None where it can't be read."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def utc(seconds: float) -> str:
    """A time in seconds since 1970, as we write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
