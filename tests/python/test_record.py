"""The record that a cleanup leaves, and the note that it is running, as `status` tells them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from ostree_sweep.cli.table import size
from ostree_sweep.record import recorded
from support.sysroots import COMMAND, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root


@pytest.fixture
def updated(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot with a deployment, and garbage of one that is no more."""
    sysroot = Sysroot.create(tmp_path / "sysroot", directories=2)
    for version in (1, 2, 3):
        sysroot.deploy(version)
    sysroot.commit(9, "garbage")
    sysroot.ostree("refs", "--delete", "garbage")
    yield sysroot
    sysroot.remove()


def status(sysroot: Sysroot) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output(COMMAND, "status", "--json", f"--sysroot={sysroot.path}"))
    return found


def told(sysroot: Sysroot, fact: str) -> str:
    lines = output(COMMAND, "status", f"--sysroot={sysroot.path}").splitlines()
    return next(line for line in lines if line.startswith(f"{fact}:")).partition(":")[2].strip()


def test_a_complete_cleanup(updated: Sysroot) -> None:
    assert (status(updated)["last_cleanup"], told(updated, "Last cleanup")) == (None, "none recorded")
    ostree_sweep.cleanup(updated.path, dry_run=True)
    assert not ostree_sweep.auto_cleanup(updated.path).ran
    assert status(updated)["last_cleanup"] is None

    done = ostree_sweep.cleanup(updated.path)
    record = status(updated)["last_cleanup"]
    assert done.objects_pruned > 0
    assert (record["result"], record["error"], record["left"]) == ("complete", None, [])
    assert (record["objects_pruned"], record["bytes_freed"]) == (done.objects_pruned, done.bytes_freed)
    assert record["duration_s"] >= 0
    for lock in ("exclusive", "shared", "sysroot"):
        for kind in ("longest", "total"):
            name = f"{lock}_lock_{kind}_s"
            assert record[name] == pytest.approx(getattr(done, name), abs=1e-6)
    assert record["disk_bytes_freed"] == done.disk_bytes_freed
    # What the run itself printed.
    assert told(updated, "Last cleanup") == (
        f"complete, {record['began_at']}, after {record['duration_s']:.1f} s: "
        f"{done.objects_pruned} objects, {size(done.disk_bytes_freed)} freed"
    )


def test_what_was_left_and_why(updated: Sysroot) -> None:
    commit = updated.commit(8, "garbage")
    updated.ostree("refs", "--delete", "garbage")
    path = updated.repo / "objects" / commit[:2] / f"{commit[2:]}.commit"
    # A mount point can't be removed, not even by root.
    output("mount", "--bind", path, path)
    try:
        with pytest.raises(ostree_sweep.PartialCleanupError):
            ostree_sweep.cleanup(updated.path)
    finally:
        output("umount", path)
    record = status(updated)["last_cleanup"]
    assert (record["result"], record["failures"]) == ("incomplete", 1)
    assert f"{commit[2:]}.commit: " in record["left"][0]
    assert told(updated, "Last cleanup").startswith(
        f"incomplete ({record['unfinished']}; {record['left'][0]})"
    )


def test_what_stopped_it(updated: Sysroot) -> None:
    token = ostree_sweep.CancellationToken()
    token.cancel()
    with pytest.raises(ostree_sweep.OperationCancelled):
        ostree_sweep.cleanup(updated.path, cancellable=token)
    assert status(updated)["last_cleanup"]["result"] == "cancelled"

    ostree_sweep.cleanup(updated.path, time_budget_s=0)
    record = status(updated)["last_cleanup"]
    assert (record["result"], record["unfinished"]) == ("incomplete", "the time budget is used up")

    broken = updated.repo / "refs" / "heads" / "broken"
    broken.write_text("no checksum\n", encoding="ascii")
    with pytest.raises(ostree_sweep.CorruptRepoError) as corrupt:
        ostree_sweep.cleanup(updated.path)
    broken.unlink()
    record = status(updated)["last_cleanup"]
    assert (record["result"], record["error"]) == ("failed", str(corrupt.value))
    assert record["error"] in told(updated, "Last cleanup")


def test_a_run_that_only_waited_leaves_the_record_of_the_one_that_did_all(updated: Sysroot) -> None:
    error = ostree_sweep.OperationCancelled()

    def outdone(_progress: object) -> ostree_sweep.CleanupReport:
        ostree_sweep.cleanup(updated.path)
        raise error

    with pytest.raises(ostree_sweep.OperationCancelled):
        recorded(updated.path, None, outdone)
    record = status(updated)["last_cleanup"]
    assert record["result"] == "complete"
    assert record["objects_pruned"] > 0

    # One that was stopped later is the last one.
    token = ostree_sweep.CancellationToken()
    token.cancel()
    with pytest.raises(ostree_sweep.OperationCancelled):
        ostree_sweep.cleanup(updated.path, cancellable=token)
    assert status(updated)["last_cleanup"]["result"] == "cancelled"


def test_a_cleanup_whose_goal_is_reached_removes_nothing(updated: Sysroot) -> None:
    def entries() -> list[str]:
        checkouts = updated.path / "ostree/deploy"
        return sorted(str(path) for part in (checkouts, updated.repo / "objects") for path in part.rglob("*"))

    unused = updated.path / "ostree/deploy/os/deploy" / f"{'0' * 64}.0"
    unused.mkdir(parents=True)
    before = entries()
    command = (COMMAND, "cleanup", f"--sysroot={updated.path}")
    said = output(*command, "--free-until=0%").strip()
    assert said.endswith(" are free already, as asked: nothing to do")
    assert output(*command, "--max-freed=0") == "Nothing was deleted: --max-freed allows nothing\n"
    assert entries() == before
    assert f"Removed deployment: os/{unused.name}\n" in output(*command)


def test_a_record_that_cannot_be_written_is_in_nobodys_way(updated: Sysroot) -> None:
    updated.record.unlink()
    elsewhere = updated.path / "elsewhere"
    elsewhere.touch()
    updated.record.symlink_to(elsewhere)
    assert ostree_sweep.cleanup(updated.path).objects_pruned > 0
    assert elsewhere.read_bytes() == b""
    updated.record.unlink()
    updated.record.write_text('{"result": "\x1b[2J"}', encoding="ascii")
    assert told(updated, "Last cleanup") == "none recorded"


def test_a_cleanup_that_is_running(updated: Sysroot) -> None:
    seen: list[dict[str, Any]] = []

    def watch(progress: ostree_sweep.Progress) -> None:
        if not seen or progress.phase == "done":
            seen.append({**status(updated)["running"], "was": progress})

    assert (status(updated)["running"], told(updated, "Running")) == (None, "no cleanup")
    ostree_sweep.cleanup(updated.path, progress=watch)
    last = seen[-1]
    assert last["pid"] == os.getpid()
    assert (last["phase"], last["bytes_freed"]) == ("done", last["was"].bytes_freed)
    assert last["bytes_freed"] > 0
    assert seen[0]["phase"] == seen[0]["was"].phase
    assert status(updated)["running"] is None


def test_a_cleanup_that_was_killed_is_not_running(updated: Sysroot) -> None:
    script = (
        "import os, signal, sys, ostree_sweep\n"
        "kill = lambda progress: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ostree_sweep.cleanup(sys.argv[1], progress=kill)"
    )
    killed = subprocess.run([sys.executable, "-c", script, updated.path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert status(updated)["running"] is None
    # The next one takes over what it has left.
    assert ostree_sweep.cleanup(updated.path).objects_pruned > 0
