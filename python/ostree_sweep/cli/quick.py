"""The run that each boot may make, `cleanup --auto` where nothing is due: answered before all else is loaded.

What it imports Python has loaded anyway.
"""

from __future__ import annotations

import os

from ..places import physical_root, stamp_path


def nothing_to_do(arguments: list[str]) -> bool:
    """Answers it; False: it's another run, or somebody wants more than a line of text."""
    if arguments[:2] != ["cleanup", "--auto"] or len(arguments) > 3 or _is_service():
        return False
    sysroot = os.environ.get("OSTREE_SYSROOT") or "/"
    if len(arguments) > 2:
        option, _, sysroot = arguments[2].partition("=")
        if option != "--sysroot":
            return False
    try:
        if _is_due(physical_root(sysroot)):
            return False
        print("No cleanup needed.", flush=True)
    except OSError:  # told by the run that is made then
        return False
    return True


def _is_due(root: str) -> bool:
    try:
        os.lstat(stamp_path(root))
    except FileNotFoundError:
        return False
    return True


def _is_service() -> bool:
    return "JOURNAL_STREAM" in os.environ or "NOTIFY_SOCKET" in os.environ
