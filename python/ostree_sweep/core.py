"""The compiled core, loaded on first use: a command with nothing to do never pays for it.

It opens libostree when a sysroot is first opened; where the host has none, that call raises `ImportError`,
which names the package to install.
"""

from ._core import (
    FREE_ENOUGH,
    FREED_ENOUGH,
    OUT_OF_TIME,
    VERSION,
    Plan,
    apply,
    check_policy,
    cleanup,
    format_size,
    parse_date,
    plan_repo,
    plan_sysroot,
    prune,
    status,
    usage,
    why,
)

__all__ = [
    "FREED_ENOUGH",
    "FREE_ENOUGH",
    "OUT_OF_TIME",
    "VERSION",
    "Plan",
    "apply",
    "check_policy",
    "cleanup",
    "format_size",
    "parse_date",
    "plan_repo",
    "plan_sysroot",
    "prune",
    "status",
    "usage",
    "why",
]
