"""Values of options, and those that hold where none is given."""

from __future__ import annotations

import math
import os

from ..disk import is_share
from ..hints import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


# By how many bits a number with one of them is shifted.
_UNITS = {
    f"{unit}{end}": 10 * power
    for power, unit in enumerate(("", "K", "M", "G", "T"))
    for end in ("", "B", "iB")
}


def _refusal(message: str) -> argparse.ArgumentTypeError:
    # Slow to import.
    from argparse import ArgumentTypeError

    return ArgumentTypeError(message)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise _refusal(f"no number of seconds: '{text}'")
    return seconds


def timeout(text: str) -> float:
    """How long to wait, in seconds; -1: for ever."""
    seconds = _seconds(text)
    if seconds < 0 and seconds != -1:
        raise _refusal(f"neither 0 or more seconds nor -1, for ever: '{text}'")
    return seconds


def budget(text: str) -> float:
    """How long to work, in seconds."""
    seconds = _seconds(text)
    if seconds < 0:
        raise _refusal(f"less than 0 seconds: '{text}'")
    return seconds


def at_least_one(text: str) -> int:
    """A number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise _refusal(f"no whole number of at least 1: '{text}'")
    return number


def positive_seconds(text: str) -> float:
    """More than 0 seconds."""
    seconds = _seconds(text)
    if seconds <= 0:
        raise _refusal(f"not more than 0 seconds: '{text}'")
    return seconds


def branch_depth(text: str) -> tuple[str, int]:
    """`BRANCH=DEPTH`, as `ostree` has it."""
    branch, equals, depth = text.rpartition("=")
    if not equals:
        raise _refusal(f"Invalid value {text}, must specify BRANCH=DEPTH")
    try:
        number = int(depth)
    except ValueError:
        raise _refusal(f"Invalid depth {depth}") from None
    if not -1 <= number < 2**31:
        raise _refusal(f"Out of range depth {depth}")
    return branch, number


def size(text: str) -> int:
    """A number of bytes, or one with a unit."""
    unit = text.lstrip("0123456789")
    digits = text[: len(text) - len(unit)]
    if not digits or unit not in _UNITS:
        raise _refusal(
            f"no size: '{text}'; a size is a number of bytes, or one with K, M, G or T, as in 500M"
        )
    return int(digits) << _UNITS[unit]


def size_or_share(text: str) -> int | str:
    """A size, or a share of the file system."""
    if not text.endswith("%"):
        return size(text)
    if not is_share(text):
        raise _refusal(f"no share from 0% to 100%: '{text}'")
    return text


def default_sysroot() -> str:
    """The sysroot of a command that names none, as `ostree` finds it."""
    return os.environ.get("OSTREE_SYSROOT") or "/"


def default_repo() -> str:
    """The repository of a command that names none, as `ostree` finds it."""
    if os.path.isdir("objects") and os.path.isfile("config"):
        return "."
    return os.environ.get("OSTREE_REPO") or os.path.join(default_sysroot(), "ostree/repo")
