"""The package's calls, from Python: `pytest benches/test_operations.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from repositories import make_repo

import ostree_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small device's repository."""
    path = tmp_path_factory.mktemp("bench") / "repo"
    make_repo(path, "bare", "device")
    return path


def test_dry_run(benchmark: BenchmarkFixture, repo: Path) -> None:
    benchmark(ostree_sweep.prune, repo, refs_only=True, dry_run=True)


def test_plan(benchmark: BenchmarkFixture, repo: Path, tmp_path: Path) -> None:
    benchmark(ostree_sweep.plan, repo=repo, refs_only=True, output=tmp_path / "plan")


def test_usage(benchmark: BenchmarkFixture, repo: Path) -> None:
    benchmark(ostree_sweep.usage, repo=repo)


def test_why(benchmark: BenchmarkFixture, repo: Path) -> None:
    commit = (repo / "refs/heads/app/0/stable").read_text().strip()
    benchmark(ostree_sweep.why, commit, repo=repo)


def test_nothing_to_do(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    benchmark(ostree_sweep.auto_cleanup, tmp_path)
