"""Small things that many tests need: the command, `ostree`, a held lock."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = Path(sys.executable).with_name("ostree-sweep")


def ostree(*arguments: object) -> None:
    """Runs `ostree`."""
    subprocess.run(["ostree", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def object_files(repo: Path) -> list[Path]:
    """The files of all objects."""
    return sorted(repo.glob("objects/??/*"))


@contextmanager
def locked(repo: Path) -> Iterator[None]:
    """Holds the repository's exclusive lock, as an `ostree` that is deleting does."""
    whole_file = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with (repo / ".lock").open("wb") as lock:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, whole_file)
        yield
