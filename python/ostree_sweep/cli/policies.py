"""Policies that are named on the command line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import given
from ..retention import Policy
from .output import warn

if TYPE_CHECKING:
    from .signals import WorkSignals


def load_policy(path: str, signals: WorkSignals) -> Policy:
    """Reads a policy; root is warned if others decide by it what is kept.

    Raises:
        OSError, ValueError, OperationCancelled: as for `Policy.load`.
    """
    policy = Policy.load(path, cancellable=signals.token)
    if os.geteuid() == 0 and given.is_writable_by_others(path):
        warn(f"{path}: others than root can change this policy; give it to root, with mode 0644")
    return policy
