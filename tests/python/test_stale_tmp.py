"""What interrupted transactions leave in `tmp`: told beforehand, and removed by libostree's own rule."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import http.server
import json
import os
import random
import shutil
import stat
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support.samples import COMMAND
from support.sysroots import BRANCH, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
OTHER_BOOT = "00000000-1111-2222-3333-444444444444"
DAY = 86_400


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit, and nothing to prune."""
    path = tmp_path / "repo"
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(bytes(5000))
    output("ostree", "init", "--mode=archive", f"--repo={path}")
    commit(path)
    return path


def commit(repo: Path) -> None:
    """Commits once more: libostree's transaction ends with a cleanup of `tmp`."""
    output("ostree", "commit", f"--repo={repo}", "--branch=main", "--parent=none", repo.with_name("tree"))


def entries(repo: Path) -> set[str]:
    return {path.name for path in (repo / "tmp").iterdir()}


def size_of(tmp: Path) -> int:
    """The sum of the sizes of all that is no directory."""
    found = [path.lstat() for path in tmp.rglob("*")]
    return sum(each.st_size for each in found if not stat.S_ISDIR(each.st_mode))


def age(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(path, (when, when), follow_symlinks=False)


def fill(path: Path) -> None:
    """Makes a directory with something in it."""
    (path / "ab" / "cd").mkdir(parents=True)
    (path / "ab" / "x.file").write_bytes(bytes(3000))
    (path / "ab" / "cd" / "link").symlink_to("/nowhere")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file as a transaction does."""
    with path.open("ab") as lock:
        fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        yield


def scatter(tmp: Path, seed: int) -> list[Path]:
    """Leaves this and that, of any age; returns the lock files that are to be held."""
    chance = random.Random(seed)  # noqa: S311
    ages = (-3600, 300, DAY - 600, DAY + 600, 40 * DAY)
    held = []
    for number in range(24):
        kind = chance.choice(("file", "link", "pipe", "directory", "lock", "odd", "other", "own"))
        path = tmp / f"{kind}-{number}"
        if kind == "file":
            path.write_bytes(bytes(100 * number))
        elif kind == "link":
            path.symlink_to(chance.choice(("/etc", "nowhere", "cache")))
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            fill(path)
        elif kind == "lock":
            path = tmp / f"staging-{chance.choice((BOOT, OTHER_BOOT))}-{number}-lock"
            path.touch()
        elif kind == "odd":
            # By its name a staging directory, but a file.
            path = tmp / f"staging-{OTHER_BOOT}-file{number}"
            path.touch()
        else:
            # One of this boot that nobody has is what libostree's next transaction goes on with.
            path = tmp / f"staging-{BOOT if kind == 'own' else OTHER_BOOT}-{number}"
            fill(path)
            lock = path.with_name(f"{path.name}-lock")
            if kind == "own" or chance.random() < 0.4:
                held.append(lock)
                lock.touch()
                # libostree deletes one that is old, whoever holds it.
                age(lock, -3600)
            elif chance.random() < 0.7:
                lock.touch()
                age(lock, chance.choice(ages))
        age(path, chance.choice(ages))
    age(tmp / "cache", 40 * DAY)
    return held


@pytest.mark.parametrize("expiry", [None, "0", "3600", "-1"])
@pytest.mark.parametrize("seed", range(8 if os.environ.get("OSTREE_SWEEP_LONG") != "1" else 100))
def test_the_same_stays_as_after_a_transaction_of_libostrees(
    repo: Path, tmp_path: Path, seed: int, expiry: str | None
) -> None:
    if expiry is not None:
        output("ostree", f"--repo={repo}", "config", "set", "--", "core.tmp-expiry-secs", expiry)
    held = scatter(repo / "tmp", seed)
    reference = tmp_path / "reference"
    output("cp", "-a", repo, reference)
    before = entries(repo)
    sizes = size_of(repo / "tmp")
    with contextlib.ExitStack() as stack:
        for path in held:
            stack.enter_context(locked(path))
            stack.enter_context(locked(reference / "tmp" / path.name))
        commit(reference)
        told = ostree_sweep.prune(repo, stale_tmp=True, dry_run=True)
        assert entries(repo) == before
        done = ostree_sweep.prune(repo, stale_tmp=True)
        assert entries(repo) == entries(reference)
        assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 0
    assert told.tmp_pruned == done.tmp_pruned
    assert told.tmp_bytes_freed == done.tmp_bytes_freed == done.bytes_freed == sizes - size_of(repo / "tmp")
    assert told.disk_bytes_freed == done.disk_bytes_freed


def test_a_lock_that_is_held_for_longer_than_a_day_stays(repo: Path) -> None:
    """Libostree deletes the file, so that others take the transaction's directory for theirs."""
    lock = repo / "tmp" / f"staging-{BOOT}-AbCdEf-lock"
    with locked(lock):
        age(lock, 3 * DAY)
        assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 0
        assert lock.exists()
    age(lock, 3 * DAY)
    assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 1


def test_what_a_transaction_of_this_boot_left_stays(repo: Path) -> None:
    """The next transaction goes on with it."""
    own = repo / "tmp" / f"staging-{BOOT}-AbCdEf"
    fill(own)
    age(own, 40 * DAY)
    assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 0
    assert own.exists()


def test_an_expiry_that_is_no_number_keeps_all_but_staging_directories(repo: Path) -> None:
    output("ostree", f"--repo={repo}", "config", "set", "core.tmp-expiry-secs", "soon")
    (repo / "tmp" / "file").touch()
    age(repo / "tmp" / "file", 40 * DAY)
    fill(repo / "tmp" / f"staging-{OTHER_BOOT}-1")
    assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 1
    assert entries(repo) == {"cache", "file"}


def test_only_who_asks_for_it_has_tmp_cleaned(repo: Path) -> None:
    stale = repo / "tmp" / f"staging-{OTHER_BOOT}-1"
    fill(stale)
    done = subprocess.run([COMMAND, "prune", f"--repo={repo}"], check=True, capture_output=True, text=True)
    assert stale.exists()
    assert "tmp" not in done.stdout
    words = [str(COMMAND), "prune", f"--repo={repo}", "--stale-tmp", "--verbose"]
    told = subprocess.run([*words, "--dry-run"], check=True, capture_output=True, text=True)
    assert stale.exists()
    assert told.stdout.splitlines()[-1] == "Would remove from tmp: 1 items, 2.9 KiB"
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert not stale.exists()
    assert done.stdout.splitlines()[-1] == "Removed from tmp: 1 items, 2.9 KiB"
    assert f"tmp/{stale.name}  an interrupted transaction left it" in done.stderr
    assert "on disk: " in done.stderr


def test_a_bound_on_what_is_freed_bounds_tmp_too(repo: Path) -> None:
    for number in range(4):
        fill(repo / "tmp" / f"staging-{OTHER_BOOT}-{number}")
    done = ostree_sweep.prune(repo, stale_tmp=True, max_freed=4000)
    assert done.tmp_pruned == 2
    assert done.unfinished is not None
    assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 2


class Halting(http.server.SimpleHTTPRequestHandler):
    """A server that stops in the middle: objects from the fourth on are not sent until `go_on`."""

    go_on = threading.Event()
    halted = threading.Event()
    sent = 0

    def do_GET(self) -> None:
        """Sends a file."""
        cls = type(self)
        if "/objects/" in self.path:
            cls.sent += 1
            if cls.sent > 3:
                cls.halted.set()
                cls.go_on.wait(60)
        with contextlib.suppress(OSError):
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def pulling(repo: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A pull into `repo` that has got some objects and waits for others, as if in another boot."""
    origin = tmp_path / "origin"
    tree = tmp_path / "published"
    for number in range(20):
        (tree / str(number)).mkdir(parents=True)
        (tree / str(number) / "file").write_bytes(os.urandom(4000))
    output("ostree", "init", "--mode=archive", f"--repo={origin}")
    output("ostree", "commit", f"--repo={origin}", "--branch=other", tree)

    class Handler(Halting):
        go_on, halted = threading.Event(), threading.Event()

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/origin"
    output("ostree", f"--repo={repo}", "remote", "add", "--no-gpg-verify", "origin", url)
    pull = subprocess.Popen(
        ["ostree", f"--repo={repo}", "pull", "origin", "other"],
        env={**os.environ, "OSTREE_BOOTID": OTHER_BOOT},
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert Handler.halted.wait(60)
    pull.go_on = Handler.go_on.set  # type: ignore[attr-defined]
    yield pull
    Handler.go_on.set()
    pull.kill()
    pull.wait()
    server.shutdown()
    thread.join()
    server.server_close()


def staging_directories(repo: Path) -> list[Path]:
    return [path for path in (repo / "tmp").glob(f"staging-{OTHER_BOOT}-*") if path.is_dir()]


def test_what_a_killed_pull_left_goes_in_another_boot(repo: Path, pulling: subprocess.Popen[str]) -> None:
    (staging,) = staging_directories(repo)
    pulling.kill()
    pulling.wait()
    assert (staging.with_name(f"{staging.name}-lock")).exists()
    assert ostree_sweep.prune(repo, stale_tmp=True, dry_run=True).tmp_pruned == 1
    assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 1
    assert entries(repo) <= {"cache"}
    output("ostree", "fsck", f"--repo={repo}", "--quiet")


@pytest.mark.parametrize("locking", [True, False])
def test_a_pull_that_goes_on_keeps_what_it_has(
    repo: Path, pulling: subprocess.Popen[str], locking: bool
) -> None:
    """Its own lock protects it where the repository's is not used."""
    (staging,) = staging_directories(repo)
    if not locking:
        output("ostree", f"--repo={repo}", "config", "set", "core.locking", "false")
    assert ostree_sweep.prune(repo, stale_tmp=True, dry_run=True).tmp_pruned == 0
    if locking:
        with pytest.raises(ostree_sweep.LockTimeoutError):
            ostree_sweep.prune(repo, stale_tmp=True, lock_timeout_s=0)
    else:
        assert ostree_sweep.prune(repo, stale_tmp=True).tmp_pruned == 0
    assert staging.exists()
    pulling.go_on()  # type: ignore[attr-defined]
    assert pulling.wait(60) == 0
    output("ostree", "fsck", f"--repo={repo}", "--quiet")


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    sysroot = Sysroot.create(tmp_path / "sysroot", directories=3)
    sysroot.deploy(1)
    sysroot.deploy(2)
    return sysroot


@pytest.mark.needs_root
def test_a_cleanup_removes_it_and_all_tell(sysroot: Sysroot, tmp_path: Path) -> None:
    scatter(sysroot.repo / "tmp", 3)
    # What nobody holds and is of this boot is what libostree's transaction goes on with.
    for own in (sysroot.repo / "tmp").glob(f"staging-{BOOT}-*"):
        shutil.rmtree(own) if own.is_dir() else own.unlink()
    sysroot.ostree("refs", "--delete", BRANCH)
    sysroot.stamp.touch()
    reference = sysroot.copy(tmp_path / "reference")
    reference.admin("cleanup")

    status = json.loads(output(COMMAND, "status", "--json", f"--sysroot={sysroot.path}"))
    lines = output(COMMAND, "status", f"--sysroot={sysroot.path}")
    plan = ostree_sweep.plan(sysroot.path)
    shown = output(COMMAND, "plan", f"--show={plan.path}")
    told = ostree_sweep.cleanup(sysroot.path, dry_run=True)
    done = ostree_sweep.auto_cleanup(sysroot.path)
    assert entries(sysroot.repo) == entries(reference.repo)
    assert sysroot.state() == reference.state()
    assert done.by_plan
    assert done.stamp_removed
    assert done.tmp_pruned > 3
    found = (done.tmp_pruned, done.tmp_bytes_freed)
    assert (told.tmp_pruned, told.tmp_bytes_freed) == found
    assert (plan.tmp.entries, plan.tmp.bytes) == found
    assert (status["tmp"]["entries"], status["tmp"]["bytes"]) == found
    assert f"Left in tmp:     {done.tmp_pruned} items, " in lines
    assert f"Would remove from tmp: {done.tmp_pruned} items, " in shown
    assert told.disk_bytes_freed == done.disk_bytes_freed


@pytest.mark.needs_root
def test_what_is_in_the_way_is_named_and_keeps_nothing_else(sysroot: Sysroot, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "kept").touch()
    tmp = sysroot.repo / "tmp"
    for name in ("1", "2"):
        fill(tmp / f"staging-{OTHER_BOOT}-{name}")
    point = tmp / f"staging-{OTHER_BOOT}-1" / "ab" / "cd"
    output("mount", "--bind", tmp_path / "precious", point)
    try:
        with pytest.raises(ostree_sweep.PartialCleanupError) as caught:
            ostree_sweep.cleanup(sysroot.path, dry_run=True)
        expected = caught.value.report
        with pytest.raises(ostree_sweep.PartialCleanupError) as caught:
            ostree_sweep.cleanup(sysroot.path)
    finally:
        output("umount", point)
    done = caught.value.report
    assert done.failures == expected.failures
    (failure,) = done.failures
    assert failure.path == str(point.relative_to(sysroot.path))
    assert failure.error == "it is a mount point"
    assert done.tmp_pruned == expected.tmp_pruned == 1
    assert done.tmp_bytes_freed == expected.tmp_bytes_freed
    assert (tmp_path / "precious" / "kept").exists()
    assert not (tmp / f"staging-{OTHER_BOOT}-2").exists()
