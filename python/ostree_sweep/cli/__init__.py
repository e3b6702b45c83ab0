"""The `ostree-sweep` command."""

from __future__ import annotations

import sys

from .quick import nothing_to_do

TYPE_CHECKING = False  # without `typing`, as in the package
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status.

    Args:
        arguments: what follows the command's name; None: the process's own arguments.

    Raises:
        SystemExit: `--help` or `--version` was answered.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    if nothing_to_do(given):
        return 0
    from .run import run

    return run(given)
