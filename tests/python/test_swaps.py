"""Root prunes a repository whose owner exchanges what is in it: nothing outside is opened or changed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import repositories
from support.crash import LONG, worn_repo
from support.repositories import listing
from support.sysroots import COMMAND
from support.users import USER, give

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_root

SECONDS = 600 if LONG else 10
# On a busy machine they take longer.
ROUNDS = 4
PARTS = ("objects", "state", "tmp", "tmp/cache", "deltas", "delta-indexes", "refs/heads", "refs/remotes")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which other users can get at what is theirs."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def outside(place: Path) -> Path:
    """Root's own repository, a copy of which is the other one: every name there means something here."""
    repo = worn_repo(place / "outside", "archive", versions=6)
    (repo / "state").mkdir(exist_ok=True)
    (repo / "tmp" / "cache" / "summaries").mkdir(parents=True, exist_ok=True)
    (repo / "tmp" / "cache" / "summaries" / "gone").write_text("cached", encoding="ascii")
    return repo


@pytest.fixture
def hostile(outside: Path, place: Path) -> Path:
    return repositories.copy(outside, place / "hostile")


def exchange(path: Path, other: Path, dice: random.Random) -> None:
    """Puts a symlink to what another repository has there, or a FIFO, in the place of `path` for a moment."""
    aside = path.with_name(f"{path.name}.aside")
    with contextlib.suppress(OSError):
        path.rename(aside)
        if dice.random() < 0.9:
            path.symlink_to(other)
        else:
            os.mkfifo(path)
        time.sleep(dice.random() * 0.01)
        path.unlink()
    with contextlib.suppress(OSError):
        aside.rename(path)


@contextlib.contextmanager
def swapping(hostile: Path, outside: Path) -> Iterator[None]:
    """Exchanges something all the time, until the end of the block."""
    over = threading.Event()

    def swap(seed: int) -> None:
        # Of this thread only; it gives up root's powers over files with it.
        ctypes.CDLL(None).setfsuid(USER)
        dice = random.Random(seed)  # noqa: S311 - to be repeated
        while not over.is_set():
            part = hostile / dice.choice(PARTS)
            below = [part]
            with contextlib.suppress(OSError):
                below += [path for path in part.rglob("*") if ".aside" not in str(path)]
            path = dice.choice(below)
            exchange(path, outside / path.relative_to(hostile), dice)

    threads = [threading.Thread(target=swap, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_nothing_outside_is_touched(outside: Path, hostile: Path, tmp_path: Path) -> None:
    pristine = repositories.copy(hostile, tmp_path / "pristine")
    before = listing(outside)
    end = time.monotonic() + SECONDS
    rounds = 0
    while rounds < ROUNDS or time.monotonic() < end:
        # What was pruned is there again.
        subprocess.run(
            ["cp", "-a", "--no-clobber", f"{pristine}/.", hostile], check=False, capture_output=True
        )
        give(hostile)
        trace = tmp_path / "trace"
        calls = "trace=openat,openat2,unlinkat,renameat,renameat2,fchown,fchmod"
        strace = ("strace", "-f", "-y", "-o", str(trace), "-e", calls)
        prune = (str(COMMAND), "prune", "--refs-only", "--depth=0", f"--repo={hostile}")
        with swapping(hostile, outside):
            run = subprocess.run([*strace, *prune], check=False, capture_output=True, text=True, timeout=60)
        assert run.returncode in (0, 1, 3), run
        assert "panicked" not in run.stderr
        assert "Traceback" not in run.stderr
        touched = [line for line in trace.read_text(errors="replace").splitlines() if f"<{outside}" in line]
        assert not touched, "\n".join(touched)
        rounds += 1
    assert listing(outside) == before
    repositories.fsck(outside)
