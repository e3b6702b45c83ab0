"""Root prunes a repository whose owner exchanges what is in it: nothing outside is opened or changed."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import repositories
from support.crash import LONG, worn_repo
from support.peaks import run_measured
from support.repositories import listing
from support.sysroots import COMMAND
from support.users import USER, give

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_root

SECONDS = 600 if LONG else 0
ROUNDS = 2
PARTS = (
    *("objects", "state", "tmp", "tmp/cache", "deltas", "delta-indexes"),
    *("refs", "refs/heads", "refs/remotes"),
)
# What is a link out of the repository in every other run, from its beginning to its end.
STANDING = ("refs/heads/main", "state", "refs/heads", "objects", "tmp/cache", "deltas", "config")
KINDS = ["device", "link to a device", "fifo", "directory", "sparse", "bytes"]
SETTINGS = (
    *("mode=archive", "mode=bare", "mode=archive\nparent=.", "mode=archive\nlocking=false", "mode="),
    *("mode=archive\ntombstone-commits=true", 'mode=archive\n[remote "../../outside"]\nurl=file:///'),
)


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


def put(path: Path, kind: str, other: Path, device: Path, dice: random.Random) -> None:
    """Puts something at `path`, where nothing is."""
    if kind == "link":
        path.symlink_to(other)
    elif kind == "device":
        # A user makes no devices, but whoever has one may link it.
        path.hardlink_to(device)
    elif kind == "link to a device":
        path.symlink_to(f"/dev/{dice.choice(['null', 'zero'])}")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "settings":
        path.write_text(f"[core]\nrepo_version=1\n{dice.choice(SETTINGS)}\n", encoding="ascii")
    else:
        path.write_bytes(dice.randbytes(64))
        if kind == "sparse":
            os.truncate(path, 1 << 40)


def exchange(path: Path, other: Path, device: Path, dice: random.Random) -> None:
    """Puts something else in the place of `path` for a moment."""
    aside = path.with_name(f"{path.name}.aside")
    # What leads elsewhere is what matters most.
    kind = "settings" if path.name == "config" else dice.choice(["link"] * 5 + KINDS)
    with contextlib.suppress(OSError):
        path.rename(aside)
        with contextlib.suppress(OSError):
            put(path, kind, other, device, dice)
            time.sleep(dice.random() * 0.01)
        if kind == "directory":
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        aside.rename(path)


@pytest.fixture
def device(place: Path) -> Path:
    """The same as /dev/null, and the hostile user's."""
    path = place / "null"
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chown(path, USER, USER)
    return path


@contextlib.contextmanager
def swapping(hostile: Path, outside: Path, device: Path, standing: str | None) -> Iterator[None]:
    """Exchanges `standing`, and then something all the time, until the end of the block."""
    over = threading.Event()

    def become_the_user() -> None:
        # This thread only; it gives up root's powers over files with it.
        ctypes.CDLL(None).setfsuid(USER)

    def stand(part: str) -> None:
        become_the_user()
        (hostile / part).rename(hostile / f"{part}.aside")
        (hostile / part).symlink_to(outside / part)

    def swap(seed: int) -> None:
        become_the_user()
        dice = random.Random(seed)  # noqa: S311 - to be repeated
        while not over.is_set():
            # A run that meets one of these exchanged has not looked at much yet.
            path = part = hostile / dice.choice([*PARTS, "config"])
            if dice.random() > 0.05:
                with contextlib.suppress(OSError, IndexError):
                    below = (path for path in part.rglob("*") if ".aside" not in str(path))
                    path = dice.choice(
                        [path for path in below if str(path.relative_to(hostile)) not in PARTS]
                    )
                if path == part:
                    continue
            exchange(path, outside / path.relative_to(hostile), device, dice)

    if standing is not None:
        first = threading.Thread(target=stand, args=(standing,))
        first.start()
        first.join()
        assert (hostile / standing).is_symlink()
    threads = [threading.Thread(target=swap, args=(seed,)) for seed in range(1 if standing else 2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def restore(hostile: Path, pristine: Path) -> None:
    """Puts back what was pruned, or left exchanged."""
    for path in hostile.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    subprocess.run(["cp", "-a", f"{pristine}/.", hostile], check=True)
    give(hostile)


def test_nothing_outside_is_touched(outside: Path, hostile: Path, device: Path, tmp_path: Path) -> None:
    """By no command of root's. None hangs, crashes, or takes more than twice an honest run's memory."""
    pristine = repositories.copy(hostile, tmp_path / "pristine")
    commit = (hostile / "refs/heads/main").read_text(encoding="ascii").strip()
    plan, trace = tmp_path / "plan", tmp_path / "trace"
    calls = "trace=openat,openat2,open_by_handle_at,unlinkat,renameat,renameat2,fchown,fchmod,fchmodat"
    strace = ("strace", "-f", "-y", "-o", trace, "-e", calls, COMMAND)
    rule, where = ("--refs-only", "--depth=0"), f"--repo={hostile}"
    commands = (
        ("prune", *rule, where),
        ("plan", *rule, where, f"--output={tmp_path / 'other'}"),
        ("du", where),
        ("why", where, commit),
        ("apply", plan),
    )
    before, honest = listing(outside), {}
    end = time.monotonic() + SECONDS
    rounds = runs = 0
    while rounds < ROUNDS or time.monotonic() < end:
        for command in commands:
            restore(hostile, pristine)
            subprocess.run(
                [COMMAND, "plan", *rule, where, f"--output={plan}"], check=True, capture_output=True
            )
            if not rounds:
                run, honest[command] = run_measured(*strace, *command)
                assert run.returncode == 0, run
                restore(hostile, pristine)
                subprocess.run(
                    [COMMAND, "plan", *rule, where, f"--output={plan}"], check=True, capture_output=True
                )
            runs += 1
            standing = STANDING[runs // 2 % len(STANDING)] if runs % 2 else None
            with swapping(hostile, outside, device, standing):
                run, peak = run_measured(*strace, *command)
            assert run.returncode in (0, 1, 3), run
            assert "panicked" not in run.stderr
            assert "Traceback" not in run.stderr
            lines = trace.read_text(errors="replace").splitlines()
            touched = [line for line in lines if f"<{outside}" in line or "</dev/zero" in line]
            assert not touched, "\n".join(touched)
            assert peak < 2 * honest[command], command
        rounds += 1
    assert listing(outside) == before
    repositories.fsck(outside)
