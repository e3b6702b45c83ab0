"""Stopping a cleanup whatever it does: it stops soon, tells what it did, and leaves the rest to the next."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.sysroots import COMMAND, ENOUGH_S, Sysroot, locked, make_tree, output, started, wait_until

if TYPE_CHECKING:
    from subprocess import Popen

# What calls the package, and stops the work by a token.
CALLER = """
import dataclasses, json, signal, sys
from ostree_sweep import CancellationToken, OperationCancelled, auto_cleanup

token = CancellationToken()
signal.signal(signal.SIGUSR1, lambda *_: token.cancel())
try:
    auto_cleanup(sys.argv[1], impact="full", lock_timeout_s=-1, cancellable=token)
except OperationCancelled as stopped:
    print(json.dumps({"report": stopped.report and dataclasses.asdict(stopped.report)}))
    sys.exit(9)
"""

# How to stop it: by which signal, and the exit status that this is to lead to.
WAYS = pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGUSR1, 9), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
    ids=["token", "SIGINT", "SIGTERM"],
)
LOCKS = pytest.mark.parametrize("lock", ["ostree/repo/.lock", "ostree/lock"], ids=["repo", "sysroot"])

# A phase is slowed down by a delay, in microseconds, before each call of one kind. It has begun when a call
# names an object of such a type.
PHASES = pytest.mark.parametrize(
    ("call", "delay_us", "object_type"),
    [("openat2", 2000, ".dirtree"), ("unlinkat", 500, ".dirtree"), ("unlinkat", 500, ".file")],
    ids=["crawl", "sweep of trees", "sweep of files"],
)


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    """A sysroot with something to free, and a stamp."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    for branch in ("live", "dead"):
        sysroot.commit(1, branch)
    sysroot.ostree("refs", "--delete", "dead")
    sysroot.stamp.touch()
    return sysroot


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sysroot, frozenset[str]]:
    """A sysroot with a stamp and 6,600 objects; and those that are live, half of them."""
    place = tmp_path_factory.mktemp("large")
    sysroot = Sysroot.create(place / "sysroot")
    for branch in ("live", "dead"):
        make_tree(place / branch, 1, branch, directories=300)
        sysroot.ostree("commit", f"--branch={branch}", place / branch)
        shutil.rmtree(place / branch)
    sysroot.ostree("refs", "--delete", "dead")
    sysroot.stamp.touch()
    return sysroot, sysroot.objects_of("live")


def cleanup(sysroot: Sysroot, number: signal.Signals = signal.SIGINT) -> list[object]:
    """The command line of a cleanup that waits for locks and not for others' disk, and stops at a signal."""
    if number == signal.SIGUSR1:
        return [sys.executable, "-c", CALLER, sysroot.path]
    options = ["--auto", "--impact=full", "--json", "--lock-timeout=-1"]
    return [COMMAND, "cleanup", *options, f"--sysroot={sysroot.path}"]


def assert_the_next_run_finishes(sysroot: Sysroot, live: frozenset[str]) -> None:
    sysroot.ostree("fsck")
    output(*cleanup(sysroot))
    assert sysroot.objects() == live
    assert not sysroot.stamp.exists()


@WAYS
@LOCKS
def test_a_wait_for_a_lock_is_stopped(
    sysroot: Sysroot, lock: str, number: signal.Signals, status: int
) -> None:
    before = sysroot.objects()
    with locked(sysroot.path / lock):
        process = started(*cleanup(sysroot, number))
        wait_until(lambda: is_at_work(process))
        # Nothing that takes long comes before the wait.
        time.sleep(0.3)
        process.send_signal(number)
        out, error = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == status
    assert error == ""
    report = json.loads(out)["report"]
    assert (report["objects_pruned"], report["unfinished"]) == (0, "it was cancelled")
    assert sysroot.stamp.exists()
    assert sysroot.objects() == before
    assert_the_next_run_finishes(sysroot, sysroot.objects_of("live"))


def is_at_work(process: Popen[str]) -> bool:
    """Whether a cleanup has loaded the core, before which it takes care of signals."""
    return "_core" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")


@LOCKS
def test_a_busy_lock_is_not_waited_for(sysroot: Sysroot, lock: str) -> None:
    before = sysroot.objects()
    with locked(sysroot.path / lock):
        process = started(COMMAND, "cleanup", "--auto", "--lock-timeout=0", f"--sysroot={sysroot.path}")
        out, error = process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 75
    assert out == ""
    assert str(sysroot.path / lock) in error
    assert sysroot.stamp.exists()
    assert sysroot.objects() == before
    assert_the_next_run_finishes(sysroot, sysroot.objects_of("live"))


@WAYS
@PHASES
def test_work_is_stopped_halfway(
    large: tuple[Sysroot, frozenset[str]],
    tmp_path: Path,
    call: str,
    delay_us: int,
    object_type: str,
    number: signal.Signals,
    status: int,
) -> None:
    original, live = large
    sysroot = original.copy(tmp_path / "sysroot", linked=True)
    before = sysroot.objects()
    trace = tmp_path / "trace"
    tracer = [
        "strace",
        "-f",
        "-qq",
        "-o",
        trace,
        f"--trace={call}",
        f"--inject={call}:delay_enter={delay_us}",
    ]
    process = started(*tracer, *cleanup(sysroot, number))
    wait_until(lambda: trace.exists() and f'{object_type}"' in trace.read_text(encoding="utf-8"))
    traced = int(trace.read_text(encoding="utf-8").split(maxsplit=1)[0])
    os.kill(traced, number)
    out, error = process.communicate(timeout=ENOUGH_S)

    assert process.returncode == status
    assert error == ""
    pruned = json.loads(out)["report"]["objects_pruned"]
    assert pruned == len(before - sysroot.objects())
    assert (pruned > 0) == (call == "unlinkat")
    assert sysroot.stamp.exists()
    assert live < sysroot.objects()
    assert_the_next_run_finishes(sysroot, live)
