"""The compiled core, loaded on first use: a command with nothing to do never pays for it.

Raises:
    ImportError: the host has no libostree; the message names the package to install.
"""

try:
    from ._core import (
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
except ImportError as error:
    if "libostree-1.so" not in str(error):
        raise
    message = (
        "libostree-1.so.1 is missing: install the package libostree-1-1 (Debian, Ubuntu) "
        "or ostree-libs (Fedora, RHEL)"
    )
    raise ImportError(message, name=error.name, path=error.path) from error

__all__ = [
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
