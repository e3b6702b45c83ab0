"""Killing somebody's transaction in the middle."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Each object gets its name by a link, and waits for it: so there is time to see that it has begun.
# The command itself is the child, to be killed.
_SLOWLY = ("strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat")
_DELAY = ("-e", "inject=linkat:delay_enter=50000")


def kill_amid(tmp: Path, *command: object) -> None:
    """Kills a command that pulls into a repository, once it has begun and before it is done."""
    words = [*_SLOWLY, *_DELAY, *map(str, command)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not _has_staged(tmp):
            pass
        process.kill()
    assert _has_staged(tmp), "it was done before it could be killed"


def _has_staged(tmp: Path) -> bool:
    """Whether a transaction has its directory."""
    return any(path.name.startswith("staging-") for path in tmp.iterdir())
