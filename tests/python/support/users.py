"""Other users than root, and what they may use of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Nobody's: what it may use is counted by user, and others may be running.
USER = 47_311

# The interpreter may live where others can't go, so all is imported first and the user changes then.
_AS_USER = """
import os, resource, sys
import logging, ostree_sweep.cli.run, ostree_sweep.core
from ostree_sweep.cli import main
from ostree_sweep.cli.arguments import parse
parse(sys.argv[3:])
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
threads = int(sys.argv[2])
if threads:
    resource.setrlimit(resource.RLIMIT_NPROC, (threads, threads))
sys.exit(main(sys.argv[3:]))
"""


def sweep_as(*arguments: object, user: int = USER, threads: int = 0) -> subprocess.CompletedProcess[str]:
    """Runs `ostree-sweep` as another user, who can have no more threads than that, if it is not 0."""
    command = [sys.executable, "-c", _AS_USER, str(user), str(threads), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=60)


def give(path: Path, user: int = USER) -> None:
    """Makes a user the owner of all that is there and below."""
    for each in (path, *path.rglob("*")):
        os.lchown(each, user, user)
