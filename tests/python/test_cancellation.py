"""Stopping the work: by a token, a signal, a callback's error. It stops soon, and deletes no more."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, LockTimeoutError, OperationCancelled, Progress
from support.samples import COMMAND, locked, object_files, ostree

if TYPE_CHECKING:
    from pathlib import Path

# A tenth of the promised 0.2 s is usual; how late a busy machine lets a process run is not ours to say.
PROMPT_S = 2


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A physical root with a stamp, and an orphaned commit in its repository."""
    sysroot, tree = tmp_path / "sysroot", tmp_path / "tree"
    sysroot.mkdir()
    tree.mkdir()
    (tree / "file").write_text("dead", encoding="utf-8")
    ostree("admin", f"--sysroot={sysroot}", "init-fs", sysroot)
    ostree("commit", f"--repo={sysroot / 'ostree/repo'}", "--orphan", tree)
    (sysroot / ".cleanup").touch()
    return sysroot


@pytest.fixture
def repo(sysroot: Path) -> Path:
    return sysroot / "ostree" / "repo"


def test_a_token_is_cancelled_once_and_for_all() -> None:
    token = CancellationToken()
    assert not token.is_cancelled()
    threads = [threading.Thread(target=token.cancel) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert token.is_cancelled()


def test_a_cancelled_token_stops_work_before_it_begins(repo: Path) -> None:
    token = CancellationToken()
    token.cancel()
    before = object_files(repo)
    with pytest.raises(OperationCancelled):
        ostree_sweep.prune(repo, refs_only=True, cancellable=token)
    assert object_files(repo) == before


def test_a_token_stops_the_wait_for_a_lock(repo: Path) -> None:
    token = CancellationToken()
    cancelled_at = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        token.cancel()

    before = object_files(repo)
    with locked(repo):
        timer = threading.Timer(0.3, cancel)
        timer.start()
        with pytest.raises(OperationCancelled):
            ostree_sweep.prune(repo, refs_only=True, lock_timeout_s=-1, cancellable=token)
        assert time.monotonic() - cancelled_at[0] < PROMPT_S
        timer.join()
    assert object_files(repo) == before


def test_anything_that_can_say_so_cancels(repo: Path) -> None:
    class Impatient:
        asked = 0

        def is_cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 2

    with locked(repo), pytest.raises(OperationCancelled):
        ostree_sweep.prune(repo, lock_timeout_s=-1, cancellable=Impatient())


def test_a_cancelled_cleanup_keeps_the_stamp(sysroot: Path) -> None:
    token = CancellationToken()
    token.cancel()
    with pytest.raises(OperationCancelled):
        ostree_sweep.auto_cleanup(sysroot, cancellable=token)
    assert (sysroot / ".cleanup").exists()


@pytest.mark.parametrize("error", [RuntimeError("enough"), KeyboardInterrupt()], ids=repr)
def test_what_a_callback_raises_stops_the_work(repo: Path, error: BaseException) -> None:
    def refuse(_progress: Progress) -> None:
        raise error

    before = object_files(repo)
    with locked(repo), pytest.raises(type(error)):
        ostree_sweep.prune(repo, refs_only=True, lock_timeout_s=-1, progress=refuse)
    assert object_files(repo) == before


def test_ctrl_c_stops_the_wait_for_a_lock(repo: Path) -> None:
    script = (
        "import ostree_sweep, sys\n"
        "tell = lambda progress: print(progress.phase, flush=True)\n"
        "try: ostree_sweep.prune(sys.argv[1], lock_timeout_s=-1, progress=tell)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    with (
        locked(repo),
        subprocess.Popen([sys.executable, "-c", script, repo], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        assert process.stdout.read().endswith("interrupted\n")
        assert time.monotonic() - begin < PROMPT_S


def test_a_busy_lock_is_waited_for(repo: Path) -> None:
    before = object_files(repo)
    with locked(repo):
        begin = time.monotonic()
        with pytest.raises(LockTimeoutError):
            ostree_sweep.prune(repo, refs_only=True, lock_timeout_s=0.3)
        assert 0.3 <= time.monotonic() - begin < 0.3 + PROMPT_S
    assert object_files(repo) == before


def test_progress_is_paced_and_ends_for_sure(repo: Path) -> None:
    calls: list[tuple[float, Progress]] = []

    def note(progress: Progress) -> None:
        calls.append((time.monotonic(), progress))

    with locked(repo), pytest.raises(LockTimeoutError):
        ostree_sweep.prune(repo, lock_timeout_s=1.5, progress=note)
    assert len(calls) > 5
    assert all(len([at for at, _ in calls if begin <= at < begin + 1]) <= 10 for begin, _ in calls)

    calls.clear()
    report = ostree_sweep.prune(repo, refs_only=True, progress=note)
    last = calls[-1][1]
    assert last.phase == "done"
    assert last.bytes_freed == report.bytes_freed > 0


def test_progress_of_a_cleanup_that_nobody_asked_for(tmp_path: Path) -> None:
    ostree("admin", f"--sysroot={tmp_path}", "init-fs", tmp_path)
    calls: list[Progress] = []
    ostree_sweep.auto_cleanup(tmp_path, progress=calls.append)
    assert calls == [Progress("done", 0, 0, 0)]


def test_the_command_says_when_a_lock_stays_busy(sysroot: Path, repo: Path) -> None:
    with locked(repo):
        outcome = subprocess.run(
            [COMMAND, "cleanup", "--auto", "--lock-timeout=0.1", f"--sysroot={sysroot}"],
            check=False,
            capture_output=True,
        )
    assert outcome.returncode == 75
    assert outcome.stdout == b""
    assert outcome.stderr.startswith(b"error: ")
    assert outcome.stderr.count(b"\n") == 1
    assert (sysroot / ".cleanup").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("option", [[], ["--json"]], ids=str)
def test_a_signal_stops_the_command(
    sysroot: Path, repo: Path, number: signal.Signals, option: list[str]
) -> None:
    before = object_files(repo)
    with (
        locked(repo),
        subprocess.Popen(
            [COMMAND, "cleanup", "--auto", "--lock-timeout=-1", f"--sysroot={sysroot}", *option],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(number)
        begin = time.monotonic()
        out, err = process.communicate()
        stopped_after = time.monotonic() - begin
    assert process.returncode == 128 + number
    assert stopped_after < PROMPT_S
    assert b"Traceback" not in err
    if option:
        assert json.loads(out)["error"]["type"] == "OperationCancelled"
        assert err == b""
    else:
        assert out == b""
        assert err.startswith(b"error: ")
    assert object_files(repo) == before
    assert (sysroot / ".cleanup").exists()


def test_an_ignored_signal_stays_ignored(sysroot: Path, repo: Path) -> None:
    """A shell's background job ignores SIGINT."""
    with (
        locked(repo),
        subprocess.Popen(
            [COMMAND, "cleanup", "--auto", "--lock-timeout=-1", f"--sysroot={sysroot}"],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        ) as process,
    ):
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
