"""Values of options, and those that hold where none is given."""

from __future__ import annotations

import argparse
import math
import os
import re


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"no number of seconds: '{text}'")
    return seconds


def timeout(text: str) -> float:
    """How long to wait, in seconds; -1: for ever."""
    seconds = _seconds(text)
    if seconds < 0 and seconds != -1:
        raise argparse.ArgumentTypeError(f"neither 0 or more seconds nor -1, for ever: '{text}'")
    return seconds


def budget(text: str) -> float:
    """How long to work, in seconds."""
    seconds = _seconds(text)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"less than 0 seconds: '{text}'")
    return seconds


def at_least_one(text: str) -> int:
    """A number of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"no whole number of at least 1: '{text}'")
    return number


def positive_seconds(text: str) -> float:
    """More than 0 seconds."""
    seconds = _seconds(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"not more than 0 seconds: '{text}'")
    return seconds


def branch_depth(text: str) -> tuple[str, int]:
    """`BRANCH=DEPTH`, as `ostree` has it."""
    branch, equals, depth = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"Invalid value {text}, must specify BRANCH=DEPTH")
    try:
        number = int(depth)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Invalid depth {depth}") from None
    if not -1 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"Out of range depth {depth}")
    return branch, number


def size(text: str) -> int:
    """A number of bytes, or one with a unit."""
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"no size: '{text}'; a size is a number of bytes, or one with K, M, G or T, as in 500M"
        )
    return int(match[1]) << (10 * " KMGT".index(match[2] or " "))


def default_sysroot() -> str:
    """The sysroot of a command that names none, as `ostree` finds it."""
    return os.environ.get("OSTREE_SYSROOT") or "/"


def default_repo() -> str:
    """The repository of a command that names none, as `ostree` finds it."""
    if os.path.isdir("objects") and os.path.isfile("config"):
        return "."
    return os.environ.get("OSTREE_REPO") or os.path.join(default_sysroot(), "ostree/repo")
