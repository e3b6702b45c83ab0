"""Progress rises within a phase, and only a run that is complete ends in "done"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, OperationCancelled, Progress
from support.samples import ostree

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
