"""Files on the command line that say what to keep."""

from __future__ import annotations

import os

from .. import given
from ..hints import TYPE_CHECKING
from ..retention import Policy
from .output import warn

if TYPE_CHECKING:
    from .signals import WorkSignals


# A million commits, with a word on each.
_MAX_LIST_BYTES = 128 << 20


def listed_commits(path: str | None, signals: WorkSignals) -> list[str]:
    """The checksums, or beginnings of such, that a list of commits holds; none without a list.

    Raises:
        OSError, OperationCancelled: it can't be read.
        ValueError: it is too large, or has a line that holds something else.
    """
    if path is None:
        return []
    from re import fullmatch

    content = given.read("/dev/stdin" if path == "-" else path, _MAX_LIST_BYTES, signals.token)
    found = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        commit = line.partition("#")[0].strip()
        if fullmatch("[0-9a-f]{2,64}", commit):
            found.append(commit)
        elif commit:
            raise ValueError(f"{path}:{number}: no checksum of a commit: '{commit}'")
    return found


def load_policy(path: str, signals: WorkSignals) -> Policy:
    """Reads a policy; root is warned if others decide by it what is kept.

    Raises:
        OSError, ValueError, OperationCancelled: as for `Policy.load`.
    """
    policy = Policy.load(path, cancellable=signals.token)
    if os.geteuid() == 0 and given.is_writable_by_others(path):
        warn(f"{path}: others than root can change this policy; give it to root, with mode 0644")
    return policy
