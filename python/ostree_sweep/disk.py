"""How much of a repository's file system is free."""

from __future__ import annotations

import os

from . import checks
from .hints import Optional, StrPath, Union


def check(name: str, value: object) -> None:
    """Checks what a caller wants free: a number of bytes, or a share as text.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if isinstance(value, float):
        raise TypeError(
            f'{name} must be a whole number of bytes, or a share as text such as "15%", not a float'
        )
    if not isinstance(value, str):
        checks.optional_whole(name, value, 0, 2**64 - 1)
    elif not is_share(value):
        raise ValueError(f"{name} must be a number of bytes or a share from 0% to 100%, not {value!r}")


def is_share(text: str) -> bool:
    """Whether a text is a share of a file system, from "0%" to "100%"."""
    return text.endswith("%") and text[:-1].isdecimal() and text.isascii() and int(text[:-1]) <= 100


def wanted(repo: StrPath, value: Optional[Union[int, str]]) -> Optional[int]:
    """What a caller wants free on a repository's file system, in bytes.

    Raises:
        OSError: the file system can't be looked at.
    """
    if not isinstance(value, str):
        return value
    stat = os.statvfs(os.path.join(repo, "objects"))
    return stat.f_blocks * stat.f_frsize * int(value.removesuffix("%")) // 100


def free_bytes(repo: StrPath) -> Optional[int]:
    """What a repository's file system has free for ordinary users; None where that can't be told."""
    try:
        stat = os.statvfs(os.path.join(repo, "objects"))
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def is_nearly_full(repo: StrPath) -> bool:
    """Whether less than a twentieth of a repository's file system is free for ordinary users."""
    try:
        stat = os.statvfs(os.path.join(repo, "objects"))
    except OSError:
        return False
    return stat.f_bavail * 20 < stat.f_blocks
