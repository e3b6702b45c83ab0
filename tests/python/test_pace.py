"""The pace of a run: bounds, pauses, priorities, batches with a sync, rests while others wait."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, Impact, OperationCancelled, Progress, aio
from support import repositories
from support.crash import FILE_SYSTEMS
from support.samples import COMMAND, object_files, ostree

if TYPE_CHECKING:
    from collections.abc import Iterator

# More than any wait takes here; how late a busy machine lets a process run is not ours to say.
ENOUGH_S = 30
FILES = 1500


# As many as an idle run deletes within seconds while others wait for the disk.
FEW_FILES = 160


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose one commit, with 1,500 files, is garbage."""
    return make_repo(tmp_path_factory.mktemp("original"), FILES)


def make_repo(place: Path, files: int) -> Path:
    """Makes a repository whose one commit is garbage."""
    tree = place / "tree"
    for number in range(files):
        file = tree / str(number % 30) / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{number}")
    repo = place / "repo"
    ostree(f"--repo={repo}", "init", "--mode=bare-user")
    ostree(f"--repo={repo}", "config", "set", "core.lock-timeout-secs", "0")
    ostree(f"--repo={repo}", "commit", "--orphan", tree)
    shutil.rmtree(tree)
    return repo


@pytest.fixture
def repo(original: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "repo"
    subprocess.run(["cp", "-a", original, copy], check=True)
    return copy


@pytest.fixture
def sysroot(repo: Path, tmp_path: Path) -> Path:
    """A physical root with a stamp and the same garbage."""
    sysroot = tmp_path / "sysroot"
    sysroot.mkdir()
    ostree("admin", f"--sysroot={sysroot}", "init-fs", sysroot)
    shutil.rmtree(sysroot / "ostree/repo")
    repo.rename(sysroot / "ostree/repo")
    (sysroot / ".cleanup").touch()
    return sysroot


def is_free(repo: Path) -> bool:
    """Whether the repository's exclusive lock can be had at once."""
    return subprocess.run(["ostree", "prune", "--no-prune", f"--repo={repo}"], check=False).returncode == 0


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def strace(log: Path, calls: str, *command: object) -> str:
    subprocess.run(
        ["strace", "-f", "-o", log, "-e", f"trace={calls}", *map(str, command)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return log.read_text()


def test_a_time_budget_ends_a_cleanup_and_the_next_one_goes_on(sysroot: Path) -> None:
    repo = sysroot / "ostree/repo"
    # Gentle work would rest for as long as the disk is busy, before it deletes anything.
    report = ostree_sweep.auto_cleanup(sysroot, time_budget_s=3, unlinks_per_s=200, impact="full")
    assert report.unfinished == "the time budget is used up"
    assert not report.stamp_removed
    assert (sysroot / ".cleanup").exists()
    assert 0 < len(object_files(repo)) < FILES
    ostree(f"--repo={repo}", "fsck")
    rest = ostree_sweep.auto_cleanup(sysroot)
    assert rest.unfinished is None
    assert rest.stamp_removed
    assert report.objects_pruned + rest.objects_pruned >= FILES
    assert not object_files(repo)


def test_a_time_budget_ends_a_prune(repo: Path) -> None:
    command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--time-budget=0"]
    outcome = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert "Something is left: the time budget is used up" in outcome.stdout
    assert len(object_files(repo)) > FILES


def test_max_freed_ends_a_cleanup(sysroot: Path) -> None:
    report = ostree_sweep.cleanup(sysroot, max_freed=1000)
    assert report.unfinished is not None
    assert report.bytes_freed >= 1000
    assert report.objects_pruned < 10
    assert (sysroot / ".cleanup").exists()


@pytest.mark.parametrize("rate", [0, -1, 1 << 40])
def test_a_rate_out_of_range_is_refused(repo: Path, rate: int) -> None:
    with pytest.raises(ValueError, match="unlinks_per_s must be between 1 and 4294967295"):
        ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=rate)
    command = [str(COMMAND), "prune", f"--repo={repo}", f"--max-unlinks={rate}"]
    assert subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 2


@pytest.mark.parametrize("impact", ["idle", "balanced", "full"])
def test_no_more_is_deleted_in_a_second_than_the_rate_allows(repo: Path, impact: Impact) -> None:
    report = ostree_sweep.prune(repo, refs_only=True, impact=impact, unlinks_per_s=1000)
    assert report.objects_pruned > FILES
    # The last portion needs no rest after it, and each thread may go beyond a portion by one file.
    assert report.duration_s > report.objects_pruned / 1000 * 0.7
    assert not object_files(repo)


def test_paused_work_rests_without_a_lock(repo: Path) -> None:
    token = CancellationToken()
    phases = []

    def watch(progress: Progress) -> None:
        phases.append(progress.phase)
        if progress.phase == "sweep" and progress.bytes_freed and "paused" not in phases:
            token.pause()

    def prune() -> None:
        reports.append(
            ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=1000, cancellable=token, progress=watch)
        )

    reports: list[ostree_sweep.PruneReport] = []
    thread = threading.Thread(target=prune)
    thread.start()
    wait_for(lambda: "paused" in phases)
    left = object_files(repo)
    assert 0 < len(left) < FILES
    assert is_free(repo)
    time.sleep(0.3)
    assert object_files(repo) == left
    token.resume()
    thread.join(ENOUGH_S)
    assert phases[-1] == "done"
    assert reports[0].objects_pruned > FILES
    assert not object_files(repo)


def test_paused_work_can_be_cancelled(repo: Path) -> None:
    token = CancellationToken()

    def watch(progress: Progress) -> None:
        if progress.phase == "sweep":
            token.pause()
        elif progress.phase == "paused":
            token.cancel()

    with pytest.raises(OperationCancelled) as stopped:
        ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=1000, cancellable=token, progress=watch)
    assert stopped.value.report is not None
    assert is_free(repo)


def test_a_crawl_can_be_paused(repo: Path) -> None:
    token = CancellationToken()
    token.pause()
    phases = []

    def watch(progress: Progress) -> None:
        phases.append(progress.phase)
        if progress.phase == "paused":
            token.resume()

    report = ostree_sweep.prune(repo, dry_run=True, cancellable=token, progress=watch)
    assert "paused" in phases
    assert report.objects_total > FILES


def test_a_pause_reaches_an_awaited_prune(repo: Path) -> None:
    token = CancellationToken()
    token.pause()
    seen = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.phase == "paused":
            seen.set()
            token.resume()

    asyncio.run(aio.prune(repo, refs_only=True, cancellable=token, progress=watch))
    assert seen.is_set()
    assert not object_files(repo)


@contextmanager
def stopped_prune(repo: Path) -> Iterator[subprocess.Popen[str]]:
    """A prune that a terminal's Ctrl-Z has stopped."""
    command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--max-unlinks=500", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_for(lambda: 0 < len(object_files(repo)) < FILES)
            process.send_signal(signal.SIGTSTP)
            wait_for(lambda: state_of(process.pid) == "T")
            yield process
        finally:
            process.send_signal(signal.SIGCONT)


def test_a_stopped_process_has_no_lock_and_goes_on(repo: Path) -> None:
    with stopped_prune(repo) as process:
        left = object_files(repo)
        assert left
        assert is_free(repo)
        time.sleep(0.3)
        assert object_files(repo) == left
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0
    assert json.loads(out)["objects_pruned"] > FILES
    assert not object_files(repo)


def test_a_stopped_process_can_be_ended(repo: Path) -> None:
    with stopped_prune(repo) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert object_files(repo)


# What ionice says of a thread at each impact; ours is the caller's.
PRIORITIES = {"idle": ("19", "idle"), "balanced": ("10", "best-effort: prio 7"), "full": None}


@pytest.mark.parametrize("impact", PRIORITIES)
def test_only_the_work_s_own_threads_get_other_priorities(repo: Path, impact: str) -> None:
    def priorities(task: Path) -> tuple[str, str]:
        nice = (task / "stat").read_text().rpartition(")")[2].split()[16]
        io = subprocess.run(["ionice", "-p", task.name], check=True, stdout=subprocess.PIPE, text=True)
        return nice, io.stdout.strip()

    command = [
        str(COMMAND),
        "prune",
        f"--repo={repo}",
        "--refs-only",
        f"--impact={impact}",
        "--max-unlinks=500",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: 0 < len(object_files(repo)) < FILES)
        main = Path(f"/proc/{process.pid}/task/{process.pid}")
        before = priorities(Path(f"/proc/self/task/{threading.get_native_id()}"))
        assert priorities(main) == before
        wanted = PRIORITIES[impact] or before

        def somebody_works_so() -> bool:
            others = [task for task in main.parent.iterdir() if task != main]
            return any(priorities(task) == wanted for task in others)

        wait_for(somebody_works_so)
        process.terminate()


def unlinks_between_syncs(log: str) -> list[int]:
    """How many files were deleted before each sync, and after the last."""
    counts = [0]
    for line in log.splitlines():
        if re.search(r"fsync\(\d+\) += 0|fsync resumed", line):
            counts.append(0)
        elif re.search(r"unlinkat\(.* = 0$|unlinkat resumed.* = 0$", line):
            counts[-1] += 1
    return counts


def test_idle_and_balanced_sync_after_small_batches(original: Path, tmp_path: Path) -> None:
    most = {}
    for impact in ("idle", "balanced", "full"):
        repo = tmp_path / impact
        subprocess.run(["cp", "-a", original, repo], check=True)
        command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", f"--impact={impact}", "--jobs=1"]
        log = strace(tmp_path / "log", "fsync,unlinkat", *command)
        assert sum(unlinks_between_syncs(log)) > FILES
        most[impact] = max(unlinks_between_syncs(log))
    assert most["idle"] <= 1024
    assert most["balanced"] <= 1024
    # Without batches of ours all but the commit goes without a sync.
    assert most["full"] >= FILES


def sleeps(log: Path, repo: Path) -> int:
    """How often an idle prune sleeps."""
    command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--impact=idle"]
    return strace(log, "clock_nanosleep", *command).count("clock_nanosleep(")


@contextmanager
def a_busy_disk(directory: Path) -> Iterator[None]:
    """Somebody else writes, and waits for the disk nearly all the time."""
    command = ["dd", "if=/dev/zero", f"of={directory / 'busy'}", "bs=4096", "conv=notrunc", "oflag=dsync"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as writer:
        try:
            yield
        finally:
            writer.kill()
            (directory / "busy").unlink()


@pytest.mark.skipif(not Path("/proc/pressure/io").exists(), reason="the kernel tells of no pressure")
def test_idle_rests_while_others_wait_for_the_disk(tmp_path: Path) -> None:
    repo = make_repo(tmp_path, FEW_FILES)
    subprocess.run(["sync", "-f", tmp_path], check=True)
    with a_busy_disk(tmp_path):
        # After each eight files, at least.
        assert sleeps(tmp_path / "log", repo) > FEW_FILES / 8
    assert not object_files(repo)


def test_without_pressure_files_idle_finishes_too(repo: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.touch()
    command = (
        f"mount --bind {nothing} /proc/pressure/io && {COMMAND} prune --repo={repo} --refs-only --impact=idle"
    )
    if not Path("/proc/pressure/io").exists():
        command = command.partition("&& ")[2]
    subprocess.run(["unshare", "--mount", "sh", "-c", command], check=True, stdout=subprocess.DEVNULL)
    assert not object_files(repo)


@pytest.mark.needs_root
def test_reading_leaves_no_times_of_access(original: Path) -> None:
    """For each the disk would have to write a block of inodes."""
    system = dataclasses.replace(FILE_SYSTEMS[0], options="loop,strictatime")
    with system.disk() as disk:
        repo = repositories.copy(original, disk / "repo")
        tree = disk / "tree"
        (tree / "directory").mkdir(parents=True)
        (tree / "directory" / "file").write_text("file")
        ostree(f"--repo={repo}", "commit", "--branch=main", tree)
        ostree(f"--repo={repo}", "static-delta", "generate", "--empty", "main")
        paths = list(repo.rglob("*"))
        before = {path: path.lstat().st_atime_ns for path in paths}
        subprocess.run([COMMAND, "prune", "--refs-only", f"--repo={repo}"], check=True)
        left = {path: path.lstat().st_atime_ns for path in paths if path.exists()}
        assert left == {path: before[path] for path in left}
        assert 0 < len(left) < len(before) - FILES
        # Others' reading is noted there.
        ostree(f"--repo={repo}", "prune", "--refs-only", "--no-prune")
        assert {path for path in left if path.lstat().st_atime_ns != left[path]} >= {
            path for path in left if path.suffix == ".dirtree"
        }
