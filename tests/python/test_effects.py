"""Each option has its effect in each call that takes it, and so have defaults."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Callable

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, OperationCancelled
from support.samples import locked, object_files, ostree

if TYPE_CHECKING:
    from pathlib import Path

    from ostree_sweep import CleanupReport, PrunePlan, PruneReport

    Call = Callable[..., PruneReport | CleanupReport]


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A physical root without deployments, with a stamp and some garbage."""
    sysroot, tree = tmp_path / "sysroot", tmp_path / "tree"
    sysroot.mkdir()
    ostree("admin", f"--sysroot={sysroot}", "init-fs", sysroot)
    for branch in ("live", "dead"):
        for directory in "abc":
            (tree / branch / directory).mkdir(parents=True)
            (tree / branch / directory / "file").write_text(f"{branch} {directory}")
        ostree("commit", f"--repo={repo_of(sysroot)}", f"--branch={branch}", tree / branch)
    ostree("refs", f"--repo={repo_of(sysroot)}", "--delete", "dead")
    stamp_of(sysroot).touch()
    return sysroot


def repo_of(sysroot: Path) -> Path:
    return sysroot / "ostree" / "repo"


def stamp_of(sysroot: Path) -> Path:
    return sysroot / ".cleanup"


def auto_cleanup(sysroot: Path, **options: Any) -> CleanupReport:
    # Where others use the disk, the default would rest for long.
    return ostree_sweep.auto_cleanup(sysroot, **{"impact": "full", **options})


def cleanup(sysroot: Path, **options: Any) -> CleanupReport:
    return ostree_sweep.cleanup(sysroot, **options)


def prune(sysroot: Path, **options: Any) -> PruneReport:
    return ostree_sweep.prune(repo_of(sysroot), refs_only=True, **options)


def apply(sysroot: Path, **options: Any) -> PruneReport:
    return ostree_sweep.apply(ostree_sweep.plan(sysroot, impact="full"), **options)


def apply_to_repo(sysroot: Path, **options: Any) -> PruneReport:
    return ostree_sweep.apply(plan_repo(sysroot), **options)


def plan_repo(sysroot: Path) -> PrunePlan:
    output = sysroot.parent / "plan"
    return ostree_sweep.plan(repo=repo_of(sysroot), refs_only=True, output=output, impact="full")


CALLS = pytest.mark.parametrize("call", [auto_cleanup, cleanup, prune, apply, apply_to_repo])
CLEANUPS = pytest.mark.parametrize("call", [auto_cleanup, cleanup, apply])


@CALLS
def test_max_freed(sysroot: Path, call: Call) -> None:
    report = call(sysroot, max_freed=1)
    assert report.unfinished is not None
    assert 0 < report.objects_pruned < 8
    assert stamp_of(sysroot).exists()
    assert call(sysroot).unfinished is None


@CALLS
def test_time_budget(sysroot: Path, call: Call) -> None:
    before = object_files(repo_of(sysroot))
    report = call(sysroot, time_budget_s=0)
    assert report.unfinished == "the time budget is used up"
    assert object_files(repo_of(sysroot)) == before
    assert stamp_of(sysroot).exists()


@CALLS
def test_dry_run(sysroot: Path, call: Call) -> None:
    before = object_files(repo_of(sysroot))
    report = call(sysroot, dry_run=True)
    assert report.dry_run
    assert report.objects_pruned > 0
    assert object_files(repo_of(sysroot)) == before
    assert stamp_of(sysroot).exists()


@CALLS
def test_unlinks_per_s(sysroot: Path, call: Call) -> None:
    begin = time.monotonic()
    report = call(sysroot, impact="full", unlinks_per_s=10)
    assert time.monotonic() - begin > (report.objects_pruned - 2) / 10 > 0.5


@pytest.mark.parametrize("call", ["auto_cleanup", "cleanup", "prune", "apply", "apply_to_repo"])
def test_a_lock_timeout_of_zero_is_no_wait(sysroot: Path, call: str) -> None:
    ostree("prune", f"--repo={repo_of(sysroot)}", "--no-prune")
    # A plan is made before: it waits for the shared lock.
    plan = plan_repo(sysroot) if call == "apply_to_repo" else ostree_sweep.plan(sysroot, impact="full")
    command = {
        "auto_cleanup": "auto_cleanup(sys.argv[1], lock_timeout_s=0)",
        "cleanup": "cleanup(sys.argv[1], lock_timeout_s=0)",
        "prune": "prune(sys.argv[1] + '/ostree/repo', lock_timeout_s=0)",
    }.get(call, "apply(sys.argv[2], lock_timeout_s=0)")
    script = f"import sys, ostree_sweep; ostree_sweep.{command}"
    with locked(repo_of(sysroot)):
        # Who waits, waits for ever.
        done = subprocess.run(
            [sys.executable, "-c", script, sysroot, str(plan.path)],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert "LockTimeoutError" in done.stderr


@CALLS
def test_cancellable_and_progress(sysroot: Path, call: Call) -> None:
    phases: list[str] = []
    call(sysroot, progress=lambda progress: phases.append(progress.phase))
    assert phases[-1] == "done"
    stamp_of(sysroot).touch()
    token = CancellationToken()
    token.cancel()
    with pytest.raises(OperationCancelled):
        call(sysroot, cancellable=token)
    assert stamp_of(sysroot).exists()


@pytest.mark.parametrize("call", [auto_cleanup, cleanup, prune])
def test_items(sysroot: Path, call: Call) -> None:
    items: list[ostree_sweep.PrunedItem] = []
    report = call(sysroot, items=items.append)
    assert len(items) == report.objects_pruned > 0


@CLEANUPS
def test_stamp(sysroot: Path, call: Call, tmp_path: Path) -> None:
    """Another stamp than the sysroot's own is the only one that goes."""
    elsewhere = tmp_path / "due"
    elsewhere.touch()
    report = call(sysroot, stamp=elsewhere)
    assert isinstance(report, ostree_sweep.CleanupReport)
    assert report.stamp_removed
    assert not elsewhere.exists()
    assert stamp_of(sysroot).exists()


@CLEANUPS
def test_a_stamp_that_is_renewed_during_the_work_stays(sysroot: Path, call: Call) -> None:
    stamp = ostree_sweep.stamp.CleanupStamp.for_sysroot(sysroot)
    report = call(sysroot, progress=lambda _: stamp.request())
    assert isinstance(report, ostree_sweep.CleanupReport)
    assert report.objects_pruned > 0
    assert not report.stamp_removed
    assert stamp.read() is not None


def test_a_plans_sysroot_can_be_somewhere_else(sysroot: Path) -> None:
    plan = ostree_sweep.plan(sysroot, impact="full")
    moved = sysroot.rename(sysroot.with_name("moved"))
    assert plan.path is not None
    with pytest.raises(FileNotFoundError):
        ostree_sweep.apply(moved / "ostree" / "sweep.plan")
    report = ostree_sweep.apply(moved / "ostree" / "sweep.plan", sysroot=moved)
    assert isinstance(report, ostree_sweep.CleanupReport)
    assert report.stamp_removed
    assert report.by_plan


def test_a_plan_that_is_renewed_during_a_cleanup_stays(sysroot: Path) -> None:
    place = sysroot / "ostree" / "sweep.plan"
    ostree_sweep.plan(sysroot, impact="full")
    renewed: list[bytes] = []

    def renew(_: ostree_sweep.Progress) -> None:
        if not renewed:
            copy = place.with_name("copy")
            copy.write_bytes(place.read_bytes())
            copy.rename(place)
            renewed.append(place.read_bytes())

    assert auto_cleanup(sysroot, progress=renew).stamp_removed
    assert place.read_bytes() == renewed[0]
    stamp_of(sysroot).touch()
    ostree_sweep.plan(sysroot, impact="full")
    assert auto_cleanup(sysroot).by_plan
    assert not place.exists()


@pytest.mark.parametrize(
    ("call", "priority"),
    [
        ("auto_cleanup(sys.argv[1], dry_run=True)", "IOPRIO_CLASS_IDLE, 0"),
        ("cleanup(sys.argv[1], dry_run=True)", "IOPRIO_CLASS_BE, 7"),
        ("prune(sys.argv[1] + '/ostree/repo', dry_run=True)", None),
    ],
)
def test_the_default_impact(sysroot: Path, call: str, priority: str | None, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=ioprio_set"]
    script = f"import sys, ostree_sweep; ostree_sweep.{call}"
    subprocess.run([*strace, sys.executable, "-c", script, sysroot], check=True)
    found = re.findall(r"IOPRIO_PRIO_VALUE\(([^)]*)\)", trace.read_text(encoding="utf-8"))
    assert set(found) == ({priority} if priority else set())
