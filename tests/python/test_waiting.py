"""Nobody waits for us: whoever wants a repository's lock has it soon, and prunes at the same time go on."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import random
import re
import struct
import subprocess
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from support import repositories
from support.crash import FILE_SYSTEMS, KILLABLE, LONG
from support.sysroots import COMMAND, output, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Generous: on a busy machine a thread may sleep for long before it tries again.
SOON_S = 3
ENOUGH_S = 120
EX_TEMPFAIL = 75

# How long a slow disk takes for a request: far longer than all that needs no disk.
SLOW_S = 1.5

EXCLUSIVE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

ROUNDS = 500 if LONG else 2
ROUND_S = 4.0
TREES = 4
DICE = random.SystemRandom()


def ostree(repo: Path, *arguments: object) -> str:
    return output("ostree", f"--repo={repo}", *arguments).strip()


def make_tree(tree: Path, directories: int, own: str) -> Path:
    """A tree of which every other directory has content of its own."""
    for number in range(directories):
        directory = tree / str(number // 50) / str(number)
        directory.mkdir(parents=True)
        for file in range(8):
            (directory / str(file)).write_text(f"{number} {file} {own if number % 2 else ''}")
    return tree


@contextmanager
def a_writer(directory: Path) -> Iterator[None]:
    """Somebody writes and syncs all the time."""
    loop = f"while :; do dd if=/dev/zero of={directory}/busy bs=1M count=16 conv=fsync 2>/dev/null; done"
    with subprocess.Popen(["sh", "-c", loop], start_new_session=True) as writer:
        try:
            yield
        finally:
            os.killpg(writer.pid, 9)


def wait_for_lock(repo: Path, interval: float = 0.02) -> float:
    """Takes a repository's exclusive lock, trying every `interval` seconds; returns the seconds it took."""
    start = time.monotonic()
    with (repo / ".lock").open("a+b") as lock:
        while time.monotonic() < start + ENOUGH_S:
            try:
                fcntl.fcntl(lock, fcntl.F_OFD_SETLK, EXCLUSIVE)
                break
            except OSError:
                time.sleep(interval)
    return time.monotonic() - start


@pytest.mark.needs_root
@pytest.mark.parametrize("command", ["prune", "plan", "du"])
def test_the_exclusive_lock_is_had_soon_beside_a_run_that_rests(tmp_path: Path, command: str) -> None:
    system = dataclasses.replace(FILE_SYSTEMS[0], mode="archive")
    with system.disk() as disk:
        repo = disk / "repo"
        ostree(repo, "init", "--mode=archive")
        for own in ("old", "new"):
            ostree(repo, "commit", "--fsync=false", "--branch=main", make_tree(tmp_path / own, 300, own))
        (repo / ".lock").touch()
        os.sync()
        options = {"prune": ["--refs-only", "--depth=0"], "plan": ["--refs-only", "--depth=0"], "du": []}
        impact = [] if command == "du" else ["--impact=idle"]
        waits = []
        with a_writer(disk):
            time.sleep(0.5)
            run = started(COMMAND, command, f"--repo={repo}", *options[command], *impact)
            end = time.monotonic() + 5
            while run.poll() is None and time.monotonic() < end:
                waits.append(wait_for_lock(repo))
                time.sleep(0.1)
            run.terminate()
            run.communicate(timeout=ENOUGH_S)
        assert waits
        assert max(waits) < SOON_S


def test_with_a_lock_held_nothing_waits(tmp_path: Path) -> None:
    """This build of the core ends with an error if something does."""
    repo = tmp_path / "repo"
    ostree(repo, "init", "--mode=archive")
    for own in ("old", "new"):
        ostree(repo, "commit", "--fsync=false", "--branch=main", make_tree(tmp_path / own, 12, own))
    with a_writer(tmp_path):
        for impact in ("idle", "balanced", "full"):
            trial = repositories.copy(repo, tmp_path / impact)
            output(KILLABLE, "prune", trial, 2, impact)
            assert ostree(trial, "prune", "--refs-only", "--depth=0").endswith("No unreachable objects")


def test_a_slice_ends_with_the_unlink_that_is_on_its_way(tmp_path: Path) -> None:
    """However slow the disk is."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    ostree(repo, "init", "--mode=archive")
    tree.mkdir()
    for own in ("old", "new"):
        for name in ("one", "two"):
            (tree / name).write_text(f"{name} {own}", encoding="ascii")
        ostree(repo, "commit", "--branch=main", tree)
    delay = ["-e", "trace=unlinkat", "-e", f"inject=unlinkat:delay_enter={SLOW_S * 1_000_000:.0f}"]
    prune = [
        "prune",
        f"--repo={repo}",
        "--refs-only",
        "--depth=0",
        "--jobs=1",
        "--lock-slice=0.001",
        "--json",
    ]
    report = json.loads(output("strace", "-f", "-qq", "-o", os.devnull, *delay, COMMAND, *prune))
    assert report["objects_pruned"] > 3
    assert SLOW_S <= report["exclusive_lock_longest_s"] < 2 * SLOW_S


def test_a_crowd_of_waiters_and_a_run_all_get_the_lock(worn: tuple[Path, list[Path]]) -> None:
    """Three that sleep in the kernel until they have it, and one that tries once a second."""
    repo, trees = worn
    for tree in trees:
        ostree(repo, "commit", "--branch=dead", tree)
    ostree(repo, "refs", "--delete", "dead")
    asleep, trying = [], []

    def sleep_in_the_kernel() -> None:
        with (repo / ".lock").open("a+b") as lock:
            fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, EXCLUSIVE)
            time.sleep(0.002)
        asleep.append(1)
        time.sleep(0.02)

    def try_once_a_second() -> None:
        trying.append(wait_for_lock(repo, interval=1))

    prune = ["prune", f"--repo={repo}", "--refs-only", "--depth=0", "--lock-slice=10"]
    with repeated(sleep_in_the_kernel, sleep_in_the_kernel, sleep_in_the_kernel, try_once_a_second):
        output("timeout", ENOUGH_S, COMMAND, *prune)
        before = len(asleep), len(trying)
        wait_until(lambda: len(asleep) > before[0] and len(trying) > before[1])
    assert before[0] > 0
    assert ostree(repo, "prune", "--refs-only", "--depth=0").endswith("No unreachable objects")


def succeeds_or_is_busy(child: subprocess.Popen[str]) -> bool:
    """Waits for a prune that succeeds, or says that another one has the lock; says whether it succeeded."""
    _, errors = child.communicate(timeout=ENOUGH_S)
    busy = child.returncode == EX_TEMPFAIL or "Locking repo" in errors
    assert child.returncode == 0 or busy, f"{child.args!r}: {child.returncode}\n{errors}"
    return child.returncode == 0


def write(repo: Path, *arguments: object) -> None:
    """Has `ostree` write beside others.

    A transaction begins with a look into the staging directories of others, which may end at that moment;
    then it fails, whether we are there or not, and is tried again.
    """
    command = ["ostree", f"--repo={repo}", *map(str, arguments)]
    while (done := subprocess.run(command, check=False, capture_output=True, text=True)).returncode != 0:
        assert re.search(r"opendir\(staging-.*\): No such file or directory", done.stderr), done.stderr


@contextmanager
def repeated(*actions: Callable[[], object]) -> Iterator[None]:
    """Repeats each action in a thread of its own; then raises what one raised."""
    over, raised = threading.Event(), []

    def repeat(action: Callable[[], object]) -> None:
        try:
            while not over.is_set():
                action()
        except AssertionError as error:
            raised.append(error)

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for error in raised:
        raise error


@pytest.fixture
def worn(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A repository with a branch that nobody touches, and trees that share half of their files."""
    repo = tmp_path / "repo"
    ostree(repo, "init", "--mode=archive")
    ostree(repo, "config", "set", "core.fsync", "false")
    trees = [make_tree(tmp_path / f"tree{number}", 12, f"{number}") for number in range(TREES)]
    ostree(repo, "commit", "--branch=main", trees[0])
    return repo, trees


def test_what_others_delete_meanwhile_is_no_damage(worn: tuple[Path, list[Path]], tmp_path: Path) -> None:
    """Others commit, pull, drop refs and prune; two of ours keep different histories, in short slices."""
    repo, trees = worn
    upstream = tmp_path / "upstream"
    ostree(upstream, "init", "--mode=archive")
    for number, tree in enumerate(trees):
        ostree(upstream, "commit", "--fsync=false", f"--branch=given/{number}", tree)
    done = []

    def commit_and_drop() -> None:
        for _ in range(DICE.randrange(1, 4)):
            write(repo, "commit", "--branch=work", DICE.choice(trees))
        if DICE.random() < 0.5:
            ostree(repo, "refs", "--delete", "work")

    def pull_and_drop() -> None:
        branch = f"given/{DICE.randrange(TREES)}"
        write(repo, "pull-local", upstream, branch)
        ostree(repo, "refs", "--delete", branch)

    def ostree_prune() -> None:
        succeeds_or_is_busy(
            started("ostree", f"--repo={repo}", "prune", "--refs-only", f"--depth={DICE.choice([0, 1])}")
        )

    def flatpak_prune() -> None:
        prune = started("flatpak", "build-update-repo", "--prune", "--no-update-summary", repo)
        _, errors = prune.communicate(timeout=ENOUGH_S)
        # It looks around without the lock, and then what it looks at may be deleted by `ostree prune`, too.
        gone = re.search(r"Locking repo|No such (metadata object|file or directory)|not found", errors)
        assert prune.returncode == 0 or gone, errors

    def prune(*options: str) -> None:
        ours = started(COMMAND, "prune", f"--repo={repo}", "--refs-only", "--lock-slice=0.001", *options)
        done.append(succeeds_or_is_busy(ours))

    for _ in range(ROUNDS):
        with repeated(
            commit_and_drop,
            pull_and_drop,
            ostree_prune,
            flatpak_prune,
            lambda: prune("--depth=-1"),
            lambda: prune(f"--depth={DICE.choice([0, 2])}", *DICE.choice([[], ["--no-prune"]])),
        ):
            time.sleep(ROUND_S)
        repositories.fsck(repo)
        for commit in set(repositories.refs(repo).values()):
            ostree(repo, "ls", "-R", commit)
    assert sum(done) > ROUNDS
    output(COMMAND, "prune", f"--repo={repo}", "--refs-only", "--depth=0")
    left = repositories.objects(repo)
    ostree(repo, "prune", "--refs-only", "--depth=0")
    assert repositories.objects(repo) == left


def test_a_prune_ends_beside_a_loop_of_others(worn: tuple[Path, list[Path]]) -> None:
    repo, trees = worn
    for tree in trees:
        ostree(repo, "commit", "--branch=dead", tree)
    ostree(repo, "refs", "--delete", "dead")
    theirs = []

    def ostree_prune() -> None:
        # Keeps what ours is to delete.
        theirs.append(succeeds_or_is_busy(started("ostree", f"--repo={repo}", "prune", "--depth=-1")))

    with repeated(ostree_prune, ostree_prune):
        output(COMMAND, "prune", f"--repo={repo}", "--refs-only", "--lock-slice=0.001")
    assert any(theirs)
    assert ostree(repo, "prune", "--refs-only").endswith("No unreachable objects")
