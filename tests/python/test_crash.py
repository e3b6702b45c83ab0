"""Killed or cut off at any instant: all is sound, the stamp is there, and the next run finishes the work."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ostree_sweep.stamp import CleanupStamp
from support import repositories
from support.crash import (
    DICE,
    FILE_SYSTEMS,
    KILLABLE,
    LONG,
    Expected,
    ExpectedSysroot,
    FileSystem,
    contents,
    kill_after,
    killable,
    linked_copy,
    power_cuts,
    reflinking_directory,
    worn_repo,
    worn_sysroot,
)
from support.sysroots import COMMAND, Sysroot, output, started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root

# The short form takes every so many-th step: a prime, so that it does not keep step with the work.
STRIDE = 1 if LONG else 31
TIMES = 100 if LONG else 6
# How often a run is repeated to catch instants of it, and how many at a time.
RUNS = 6 if LONG else 1
INSTANTS = 12 if LONG else 5

PRUNE = (COMMAND, "prune", "--refs-only", "--depth=0")


@pytest.fixture(scope="module", params=FILE_SYSTEMS, ids=lambda system: system.name)
def system(request: pytest.FixtureRequest) -> FileSystem:
    """Each kind of file system in turn."""
    found: FileSystem = request.param
    return found


@pytest.fixture(scope="module")
def disk(system: FileSystem) -> Iterator[Path]:
    """A file system of that kind."""
    with system.disk() as mounted:
        yield mounted


@pytest.fixture(scope="module")
def repo(disk: Path, system: FileSystem) -> Path:
    """A repository on it, to be copied."""
    return worn_repo(disk / "repo", system.mode, versions=24)


@pytest.fixture(scope="module")
def sysroot(disk: Path) -> Sysroot:
    """A sysroot on it, to be copied."""
    return worn_sysroot(disk / "sysroot")


@pytest.fixture(scope="module")
def pruned(repo: Path) -> Expected:
    """What becomes of the repository."""
    return Expected.of(repo)


@pytest.fixture(scope="module")
def cleaned(sysroot: Sysroot) -> ExpectedSysroot:
    """What becomes of the sysroot."""
    return ExpectedSysroot.of(sysroot)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Where images can be copied in an instant."""
    with reflinking_directory() as directory:
        yield directory


def steps(system: FileSystem) -> Iterator[int]:
    """Numbers of steps to be killed at. Each file system takes others."""
    return itertools.count(1 + FILE_SYSTEMS.index(system) * STRIDE // len(FILE_SYSTEMS), STRIDE)


def test_a_prune_killed_before_any_step(repo: Path, pruned: Expected, system: FileSystem) -> None:
    for number in steps(system):
        with trial_of(repo) as trial:
            if killable("prune", trial, kill=f"any:{number}") == 0:
                break
            pruned.check(trial)
    # Each file that went was a step.
    assert number > len(pruned.before - pruned.after)


def test_what_lost_a_commit_is_synced_before_anything_else_goes(repo: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with trial_of(repo) as trial:
        output(
            "strace", "-f", "-qq", "-y", "-o", trace, "-e", "trace=unlinkat,fsync", KILLABLE, "prune", trial
        )
    unsynced, commits, others = set(), 0, 0
    for call, at, name in re.findall(
        r'(unlinkat|fsync)\(\d+<[^>]*/objects(/..)?>(?:, "([^"]+)")?', trace.read_text(encoding="utf-8")
    ):
        directory = at.strip("/") or name[:2]
        if call == "fsync":
            unsynced.discard(directory)
        elif name.endswith((".commit", ".commitmeta", ".commitmeta2")):
            unsynced.add(directory)
            commits += 1
        else:
            assert not unsynced, f"{name} is deleted before {unsynced} are synced"
            others += 1
    assert commits > 10
    assert others > 100


@pytest.mark.parametrize("step", ["sync", "lock", "unlock"])
def test_a_prune_killed_before_a_rare_step(repo: Path, pruned: Expected, step: str) -> None:
    for number in itertools.count(1, 61 if step == "sync" and not LONG else 1):
        with trial_of(repo) as trial:
            if killable("prune", trial, kill=f"{step}:{number}") == 0:
                break
            pruned.check(trial)
    assert number > 3


def test_a_prune_of_several_threads_killed_at_any_time(repo: Path, pruned: Expected) -> None:

    def command(trial: Path) -> list[object]:
        return [*PRUNE, "--jobs=4", f"--repo={trial}"]

    with trial_of(repo) as trial:
        duration_s = timed(*command(trial))
    for _ in range(TIMES):
        with trial_of(repo) as trial:
            # The first half is the start of Python.
            kill_after(started(*command(trial)), DICE.uniform(0.5, 1) * duration_s)
            pruned.check(trial)


def test_a_prune_of_several_threads_killed_before_any_step(repo: Path, pruned: Expected) -> None:
    for number in range(1, len(pruned.before - pruned.after), STRIDE):
        with trial_of(repo) as trial:
            assert killable("prune", trial, 4, kill=f"unlink:{number}") == -signal.SIGKILL
            pruned.check(trial)


def test_a_prune_killed_before_it_renames_a_tombstone(tmp_path: Path) -> None:
    repo = worn_repo(tmp_path / "repo", "bare", versions=6)
    output("ostree", f"--repo={repo}", "config", "set", "core.tombstone-commits", "true")
    reference = repositories.copy(repo, tmp_path / "reference")
    output(*PRUNE, f"--repo={reference}")
    for number in itertools.count(1):
        trial = repositories.copy(repo, tmp_path / f"trial{number}")
        if killed_before("renameat", number, *PRUNE, f"--repo={trial}") == 0:
            break
        repositories.fsck(trial)
        killable("prune", trial)
        assert repositories.objects(trial) == repositories.objects(reference)
        repositories.fsck(trial)
    assert number == 1 + sum(name.endswith(".tombstone-commit") for name in repositories.objects(reference))


def test_a_cleanup_killed_before_any_step(
    sysroot: Sysroot, cleaned: ExpectedSysroot, system: FileSystem
) -> None:
    for number in steps(system):
        with trial_of_all(sysroot) as trial:
            if killable("cleanup", trial.path, kill=f"any:{number}") == 0:
                break
            cleaned.check(trial)


@pytest.mark.parametrize("call", ["unlinkat", "renameat", "fsync", "syncfs"])
def test_a_cleanup_killed_before_a_call(
    sysroot: Sysroot, cleaned: ExpectedSysroot, system: FileSystem, call: str
) -> None:
    """What libostree removes is no step of ours; it is killed there all the same."""
    command = [COMMAND, "cleanup", "--auto", "--impact=full", "--jobs=1"]
    for number in itertools.count(1) if call in ("renameat", "syncfs") else steps(system):
        with trial_of_all(sysroot) as trial:
            if killed_before(call, number, *command, f"--sysroot={trial.path}") == 0:
                break
            cleaned.check(trial)
    assert number > 1


def test_a_cleanup_killed_at_any_time(sysroot: Sysroot, cleaned: ExpectedSysroot) -> None:

    def command(trial: Sysroot) -> list[object]:
        return [COMMAND, "cleanup", "--auto", "--impact=full", f"--sysroot={trial.path}"]

    with trial_of_all(sysroot) as trial:
        duration_s = timed(*command(trial))
    for _ in range(TIMES):
        with trial_of_all(sysroot) as trial:
            kill_after(started(*command(trial)), DICE.uniform(0.3, 1) * duration_s)
            cleaned.check(trial)


def test_the_power_fails_during_a_prune(
    place: Path, repo: Path, pruned: Expected, system: FileSystem
) -> None:
    mounted = place / "mounted"
    for _ in range(RUNS):
        with system.mounted(place / "image", mounted):
            repositories.copy(repo, mounted / "repo")
            command = [*PRUNE, "--jobs=1", f"--repo={mounted / 'repo'}"]
            images = power_cuts(place / "image", mounted, command, INSTANTS)
        for image in images:
            with system.mounted(image, mounted):
                pruned.check(mounted / "repo")
        remove_images(place)


def test_the_power_fails_after_a_killed_prune_and_another(
    place: Path, repo: Path, pruned: Expected, system: FileSystem
) -> None:
    """The second run finds no commit to delete: those that the first one deleted are still on the disk."""
    mounted = place / "mounted"
    with system.mounted(place / "image", mounted):
        trial = repositories.copy(repo, mounted / "repo")
        output("sync", "-f", mounted)
        assert killable("prune", trial, kill="sync:1") == -signal.SIGKILL
        assert not any(name.endswith(".commit") for name in contents(trial) - pruned.after)
        # They would ask for a barrier by themselves.
        for mark in trial.glob("state/*.commitpartial"):
            if not repositories.object_path(trial, f"{mark.stem}.commit").exists():
                mark.unlink()
        killable("prune", trial)
        # Others, who write there, make some of it durable.
        commits = {name.split("/")[1] for name in pruned.before - pruned.after if name.endswith(".commit")}
        for directory in sorted((trial / "objects").iterdir()):
            if directory.name not in commits:
                sync(directory)
        output("cp", "--reflink=always", place / "image", place / "image-0")
    with system.mounted(place / "image-0", mounted):
        pruned.check(mounted / "repo")
    remove_images(place)


def test_a_prune_that_deletes_nothing_syncs_nothing(repo: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with trial_of(repo) as trial:
        for expected in (True, False):
            strace = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=fsync,fdatasync,syncfs"]
            output(*strace, *PRUNE, f"--repo={trial}")
            assert ("fsync" in trace.read_text(encoding="utf-8")) == expected


def test_the_power_fails_during_a_cleanup(
    place: Path, sysroot: Sysroot, cleaned: ExpectedSysroot, system: FileSystem
) -> None:
    mounted = place / "mounted"
    for _ in range(RUNS):
        with system.mounted(place / "image", mounted):
            trial = sysroot.copy(mounted / "sysroot")
            # Who is gentle would wait for those that sync all the time here.
            command = [
                *(COMMAND, "cleanup", "--auto", "--impact=balanced", "--jobs=1"),
                f"--sysroot={trial.path}",
            ]
            images = power_cuts(place / "image", mounted, command, INSTANTS)
        for image in images:
            with system.mounted(image, mounted):
                cleaned.check(trial)
        remove_images(place)


def test_the_power_fails_after_a_cleanup(
    place: Path, sysroot: Sysroot, cleaned: ExpectedSysroot, system: FileSystem
) -> None:
    """Where the stamp is gone, so is all that it stood for, even if nobody asked the disk for it."""
    mounted = place / "mounted"
    with system.mounted(place / "image", mounted):
        trial = sysroot.copy(mounted / "sysroot")
        output("sync", "-f", mounted)
        output(COMMAND, "cleanup", "--auto", "--impact=full", f"--sysroot={trial.path}")
        output("cp", "--reflink=always", place / "image", place / "image-0")
    with system.mounted(place / "image-0", mounted):
        assert not trial.stamp.exists()
        cleaned.check(trial)
    remove_images(place)


def test_the_power_fails_after_a_request(place: Path, system: FileSystem) -> None:
    mounted = place / "mounted"
    stamp = CleanupStamp(mounted / ".cleanup")
    with system.mounted(place / "image", mounted):
        output("sync", "-f", mounted)
        note = stamp.request()
        output("cp", "--reflink=always", place / "image", place / "image-0")
    with system.mounted(place / "image-0", mounted):
        snapshot = stamp.read()
        assert snapshot is not None
        assert snapshot.note == note
    remove_images(place)


@pytest.mark.parametrize("requested", [False, True], ids=["first", "again"])
def test_a_request_killed_before_any_step(tmp_path: Path, requested: bool) -> None:
    """There is either the old stamp or the new one."""
    stamp = CleanupStamp(tmp_path / ".cleanup")
    if requested:
        stamp.request(["0" * 64])
    old = stamp.read()
    for call in ("write", "fsync", "renameat"):
        for number in itertools.count(1):
            status = killed_before(call, number, *python("CleanupStamp(sys.argv[1]).request()"), stamp.path)
            new = stamp.read()
            if status == 0:
                break
            assert new == old or (new is not None and new.note is not None)
        assert number > 1
        assert new != old


def test_a_removal_killed_before_any_step(tmp_path: Path) -> None:
    """There is either the stamp or none."""
    stamp = CleanupStamp(tmp_path / ".cleanup")
    remove = python("stamp = CleanupStamp(sys.argv[1]); stamp.remove(stamp.read())")
    for call in ("renameat", "unlinkat", "fsync"):
        for number in itertools.count(1):
            note = stamp.request()
            status = killed_before(call, number, *remove, stamp.path)
            left = stamp.read()
            assert left is None or left.note == note
            if status == 0:
                break
        assert number == 2
        assert left is None


@contextmanager
def trial_of(repo: Path) -> Iterator[Path]:
    """A copy of a repository, to be pruned."""
    trial = linked_copy(repo, repo.with_name("trial"))
    yield trial
    shutil.rmtree(trial)


@contextmanager
def trial_of_all(sysroot: Sysroot) -> Iterator[Sysroot]:
    """A copy of a sysroot, to be cleaned up."""
    trial = sysroot.copy(sysroot.path.with_name("trial"), linked=True)
    yield trial
    trial.remove()


def python(script: str) -> list[str]:
    return [sys.executable, "-c", f"import sys\nfrom ostree_sweep.stamp import CleanupStamp\n{script}"]


def killed_before(call: str, number: int, *command: object) -> int:
    """Runs a command that is killed when a thread of it makes a system call for the so many-th time."""
    inject = f"inject={call}:signal=KILL:when={number}"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    # Python would save what it compiled.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*strace, *map(str, command)], check=False, capture_output=True, text=True, env=environment
    )
    # As its child ends, so does strace.
    assert done.returncode in (0, -signal.SIGKILL), f"{command}: {done.returncode}\n{done.stderr}"
    return done.returncode


def timed(*command: object) -> float:
    """How many seconds a command takes."""
    begin = time.monotonic()
    output(*command)
    return time.monotonic() - begin


def sync(directory: Path) -> None:
    """Makes a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def remove_images(place: Path) -> None:
    for image in place.glob("image*"):
        image.unlink()
