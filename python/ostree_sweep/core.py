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
except ImportError as _error:
    if "libostree-1.so" not in str(_error):
        raise
    _message = (
        "libostree-1.so.1 is missing: install the package libostree-1-1 (Debian, Ubuntu) "
        "or ostree-libs (Fedora, RHEL)"
    )
    raise ImportError(_message, name=_error.name, path=_error.path) from _error

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
