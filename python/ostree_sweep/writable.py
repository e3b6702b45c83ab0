"""Writing to a physical root, which the host may keep mounted read-only at /sysroot.

As `ostree admin` does, root remounts it writable in a mount namespace of its own, so that nobody else sees it
writable. Here the namespace belongs to one short-lived thread, and ends with it.
"""

from __future__ import annotations

import errno
import os

from .hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _T = TypeVar("_T")

_CLONE_NEWNS = 0x00020000
_MS_REMOUNT = 32
_MS_BIND = 4096
_MS_RELATIME = 1 << 21


def run_writable(directory: str, action: Callable[[], _T]) -> _T:
    """Runs `action`, in a namespace where `directory` is writable if it's a booted host's read-only /sysroot.

    Args:
        directory: what is to be written to. `action` must open it anew: an older descriptor stays read-only.
        action: what to do; what it raises goes through.

    Raises:
        OSError: the remount failed.
    """
    if not _is_read_only_sysroot(directory):
        return action()
    from concurrent.futures import ThreadPoolExecutor

    def remount_and_run() -> _T:
        _remount_writable(directory)
        return action()

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(remount_and_run).result()


def _is_read_only_sysroot(directory: str) -> bool:
    return (
        os.geteuid() == 0
        and os.path.exists("/run/ostree-booted")
        and bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    )


def _remount_writable(directory: str) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    # Only this mount's flag: a file system that went read-only after an error stays so.
    flags = ctypes.c_ulong(_MS_REMOUNT | _MS_BIND | _MS_RELATIME)
    if libc.unshare(_CLONE_NEWNS) < 0 or libc.mount(None, os.fsencode(directory), None, flags, None) < 0:
        code = ctypes.get_errno()
        # No mount point, so not ours to remount: the action will say what it can't write.
        if code != errno.EINVAL:
            raise OSError(code, os.strerror(code), directory)
