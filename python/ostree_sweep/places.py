"""Where things are in a sysroot."""

from __future__ import annotations

import os


def physical_root(sysroot: str | os.PathLike[str]) -> str:
    """The physical root of a sysroot, which is that root itself or the root of a booted deployment.

    Raises:
        OSError: there is no such sysroot.
    """
    root = os.fspath(sysroot)
    below = os.path.join(root, "sysroot")
    booted = os.path.samefile(root, "/") or os.path.exists(os.path.join(below, "ostree"))
    return below if booted else root


def stamp_path(root: str) -> str:
    """The stamp below a physical root."""
    return os.path.join(root, ".cleanup")
