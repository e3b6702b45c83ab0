"""The generator of repositories for benches: what it writes is what `ostree` takes for a repository."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import prune
from support.crash import EXAMPLES
from support.repositories import fsck, objects
from support.sysroots import output

if TYPE_CHECKING:
    from pathlib import Path

GENERATE = EXAMPLES / "generate"

NUMBERS = {"refs": 2, "commits": 3, "changes": 2, "directories": 20, "files": 3, "garbage": 12}


def generate(repo: Path, mode: str, shape: str, **numbers: int) -> None:
    output("ostree", f"--repo={repo}", "init", f"--mode={mode}")
    output(str(GENERATE), str(repo), shape, *(f"{key}={number}" for key, number in numbers.items()))


@pytest.mark.parametrize("symlinks", [0, 1])
@pytest.mark.parametrize("mode", ["bare", "archive"])
def test_ostree_accepts_and_prunes_what_was_generated(tmp_path: Path, mode: str, symlinks: int) -> None:
    repo = tmp_path / "repo"
    generate(repo, mode, "hub", **NUMBERS, symlinks=symlinks)
    fsck(repo)
    refs = output("ostree", f"--repo={repo}", "refs").split()
    assert sorted(refs) == ["app/0/stable", "app/1/stable"]
    assert output("ostree", f"--repo={repo}", "log", refs[0]).count("\ncommit ") == 2
    before = objects(repo)
    # A commit, its dirtrees and their files; the dirmeta is everybody's.
    garbage = 1 + 12 * (1 + 3)
    report = prune(repo, refs_only=True, dry_run=True)
    assert (report.objects_total, report.objects_pruned) == (len(before), garbage)
    output("ostree", f"--repo={repo}", "prune", "--refs-only")
    assert len(objects(repo)) == len(before) - garbage
    fsck(repo)


def test_commits_share_what_did_not_change(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    generate(repo, "bare", "history", commits=10, changes=1, directories=100, files=2)
    # A dirmeta, the first commit whole, of each further one a commit, new files, and at most four dirtrees.
    assert len(objects(repo)) <= 1 + (1 + 100 + 200) + 9 * (1 + 2 + 4)


def test_a_wrong_argument_is_named(tmp_path: Path) -> None:
    for arguments in (["no-shape"], ["hub", "files"], ["hub", "size=3"], []):
        run = subprocess.run([GENERATE, tmp_path, *arguments], check=False, capture_output=True, text=True)
        assert (run.returncode, run.stderr[:6]) == (2, "usage:")
