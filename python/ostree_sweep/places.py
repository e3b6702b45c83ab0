"""Where things are in a sysroot."""

from __future__ import annotations

import errno
import os


def physical_root(sysroot: str | os.PathLike[str]) -> str:
    """The physical root of a sysroot, which is that root itself or the root of a booted deployment.

    Raises:
        NotARepoError: there is no sysroot.
        OSError: it can't be looked at.
    """
    root = os.fspath(sysroot)
    below = os.path.join(root, "sysroot")
    try:
        booted = os.path.samefile(root, "/") or os.path.exists(os.path.join(below, "ostree"))
        physical = below if booted else root
        os.stat(os.path.join(physical, "ostree", "repo"))
    except (FileNotFoundError, NotADirectoryError):
        # Slow to import, and a command with nothing to do never gets here.
        from .errors import NotARepoError

        message = f"{root} is no sysroot: it has no ostree/repo"
        raise NotARepoError(errno.ENOENT, message, root) from None
    return physical


def stamp_path(root: str) -> str:
    """The stamp below a physical root."""
    return os.path.join(root, ".cleanup")
