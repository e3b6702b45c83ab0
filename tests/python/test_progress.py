"""Progress rises within a phase, and only a run that is complete ends in "done"."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, OperationCancelled, Progress
from support.samples import ostree
from support.sysroots import Sysroot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with garbage of 400 files and 40 directories."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    for number in range(400):
        path = tree / str(number // 10) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"dead {number}", encoding="utf-8")
    ostree("init", "--mode=archive", f"--repo={repo}")
    ostree("commit", f"--repo={repo}", "--orphan", tree)
    return repo


def assert_rising(seen: list[Progress]) -> None:
    """Steps only rise within a phase; waits and pauses are none of its."""
    work = [progress for progress in seen if progress.phase not in ("lock", "paused")]
    for before, after in zip(work, work[1:]):
        assert after.total is None or after.done <= after.total
        assert before.bytes_freed <= after.bytes_freed
        if before.phase == after.phase:
            assert before.done <= after.done
            assert before.total in (None, after.total)


def test_it_rises_within_a_phase(repo: Path) -> None:
    seen: list[Progress] = []
    ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=300, progress=seen.append)
    sweeps = [progress for progress in seen if progress.phase == "sweep"]
    assert len(sweeps) > 5
    assert len({progress.total for progress in sweeps}) == 1
    for before, after in zip(sweeps, sweeps[1:]):
        assert before.done <= after.done <= (after.total or 0)
        assert before.bytes_freed <= after.bytes_freed
    assert seen[-1].phase == "done"


@pytest.mark.parametrize("bound", [{"time_budget_s": 0.5}, {"max_freed": 1}])
def test_a_bounded_run_does_not_end_in_done(repo: Path, bound: dict[str, Any]) -> None:
    seen: list[Progress] = []
    report = ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=50, progress=seen.append, **bound)
    assert report.unfinished is not None
    assert seen[-1].phase != "done"
    assert seen[-1].bytes_freed == report.bytes_freed


def test_a_cancelled_run_does_not_end_in_done(repo: Path) -> None:
    token = CancellationToken()
    seen: list[Progress] = []

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.bytes_freed:
            token.cancel()

    with pytest.raises(OperationCancelled):
        ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=50, cancellable=token, progress=watch)
    assert seen[-1].phase != "done"


@pytest.fixture
def sysroot(tmp_path: Path) -> Sysroot:
    """A sysroot with garbage, and directories that look like checkouts and are not listed."""
    sysroot = Sysroot.create(tmp_path / "sysroot", directories=10)
    sysroot.deploy(1)
    checksum = sysroot.deploy(2)
    sysroot.commit(3, "garbage")
    sysroot.ostree("refs", "--delete", "garbage")
    deployment = sysroot.deployment(checksum)
    for serial in range(5, 9):
        left = deployment.with_name(f"{checksum}.{serial}")
        for number in range(20):
            (left / str(number)).mkdir(parents=True)
            (left / str(number) / "file").touch()
    return sysroot


@pytest.mark.needs_root
@pytest.mark.parametrize("impact", ["balanced", "full"])
def test_it_rises_in_all_phases_of_all_calls(sysroot: Sysroot, impact: Any) -> None:
    seen: list[Progress] = []
    phases: set[str] = set()
    watch: dict[str, Any] = {"progress": seen.append, "impact": impact}
    plan = ostree_sweep.plan(sysroot.path, **watch)
    for call in (
        lambda: ostree_sweep.usage(sysroot=sysroot.path, progress=seen.append),
        lambda: ostree_sweep.why(plan.dropped[0].commit, sysroot=sysroot.path, progress=seen.append),
        lambda: ostree_sweep.cleanup(sysroot.path, dry_run=True, **watch),
        lambda: ostree_sweep.apply(plan, max_freed=1, unlinks_per_s=100, **watch),
        lambda: ostree_sweep.cleanup(sysroot.path, unlinks_per_s=300, lock_slice_s=0.001, **watch),
    ):
        assert_rising(seen)
        phases |= {progress.phase for progress in seen}
        seen.clear()
        call()
    assert_rising(seen)
    assert {"deployments", "roots", "sweep", "done"} <= phases
    assert seen[-1].phase == "done"


@pytest.mark.needs_root
def test_a_cleanup_that_was_stopped_does_not_end_in_done(sysroot: Sysroot) -> None:
    bounds: list[dict[str, Any]] = [{"time_budget_s": 0}, {"max_freed": 0}]
    for bound in bounds:
        seen: list[Progress] = []
        report = ostree_sweep.cleanup(sysroot.path, progress=seen.append, **bound)
        assert report.unfinished is not None
        assert seen[-1].phase != "done"


HOLD = """
import fcntl, os, struct, sys
lock = open(sys.argv[1], "ab")
fcntl.fcntl(lock, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_wait_for_a_lock_names_who_holds_it(repo: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(repo / ".lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        seen: list[Progress] = []

        def watch(progress: Progress) -> None:
            if progress.phase == "lock" and not seen:
                seen.append(progress)
                assert holder.stdin is not None
                holder.stdin.close()

        report = ostree_sweep.prune(repo, refs_only=True, lock_timeout_s=60, progress=watch)
    assert report.objects_pruned > 400
    by = f"held by pid {holder.pid} ({sys.executable})"
    assert seen == [Progress("lock", 0, None, 0, f"{repo}/.lock, {by}")]


def test_a_rest_says_what_it_is_for(repo: Path) -> None:
    token = CancellationToken()

    def watch(progress: Progress) -> None:
        if progress.waiting_for is not None:
            assert (progress.phase, progress.waiting_for) == ("sweep", "the rate limit")
            token.cancel()

    with pytest.raises(OperationCancelled):
        ostree_sweep.prune(repo, refs_only=True, unlinks_per_s=20, cancellable=token, progress=watch)
