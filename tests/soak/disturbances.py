"""How to disturb processes and file systems."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from io import FileIO

# What takes longer than that is stuck.
ENOUGH_S = 120


def run(*command: object) -> subprocess.CompletedProcess[str]:
    """Runs a command, whatever its exit status."""
    words = [str(word) for word in command]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=ENOUGH_S)


def injected(
    dice: random.Random, effect: str, calls: str, most: int, trace: Path = Path(os.devnull)
) -> list[str]:
    """A command's prefix that disturbs one of its first calls.

    Args:
        dice: choose the call.
        effect: as `strace -e inject` has it, such as `signal=KILL`.
        calls: the system calls to choose among, separated by commas.
        most: how many of them to choose among.
        trace: the file for what `strace` has to say.
    """
    inject = f"inject={calls}:{effect}:when={dice.randint(1, most)}"
    return ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={calls}", "-e", inject]


def fill(path: Path) -> None:
    """Writes a file until its file system is full."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            _write_until_full(file, b"\0" * size)


def _write_until_full(file: FileIO, block: bytes) -> None:
    try:
        while file.write(block):
            pass
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def stopped_children(process: int, trace: Path) -> list[int]:
    """The processes that a `strace` has started, once SIGSTOP has stopped all of their threads.

    Args:
        process: `strace`'s own.
        trace: what it writes: a thread that it only looks at seems to be stopped, too.
    """
    try:
        if "stopped by SIGSTOP" not in trace.read_text(encoding="utf-8", errors="replace"):
            return []
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
        return [int(child) for child in children if _is_stopped(child)]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _is_stopped(process: str) -> bool:
    threads = Path(f"/proc/{process}/task").glob("*/stat")
    return all(re.search(r"\) [tT] ", thread.read_text(encoding="utf-8")) for thread in threads)
