"""A dry run names the commits that would go: in its report, and for people with `-v` or at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support.samples import COMMAND, object_files, ostree

if TYPE_CHECKING:
    from pathlib import Path


def commit(repo: Path, tree: Path, day: int, *where: str) -> str:
    tree.mkdir(exist_ok=True)
    (tree / "file").write_text(f"{day} {where}")
    command = ["ostree", f"--repo={repo}", "commit", f"--tree=dir={tree}", *where]
    command.append(f"--timestamp=2020-01-{day:02} 12:00 +0000")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    ostree("init", "--mode=archive", f"--repo={path}")
    return path


def found(repo: Path, *arguments: str) -> tuple[list[str], list[str]]:
    """What a dry run prints on stdout, and what it says of commits on stderr."""
    command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--dry-run", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("Would delete")]
    return done.stdout.splitlines(), said


def test_a_dry_run_names_the_commits_that_a_real_run_deletes(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    main = [commit(repo, tree, day, "--branch=main") for day in (1, 2, 3)]
    versions = [
        commit(repo, tree, day, "--branch=os/next", f"--add-metadata-string=version={day}.0")
        for day in (4, 5, 6, 7)
    ]
    lost = commit(repo, tree, 8, "--orphan")
    before = object_files(repo)

    report = ostree_sweep.prune(repo, refs_only=True, depth=1, dry_run=True)
    assert [(each.commit, each.name, each.version) for each in report.pruned_commits] == [
        (lost, None, None),
        (main[0], "main", None),
        (versions[1], "os/next", "5.0"),
        (versions[0], "os/next", "4.0"),
    ]
    assert report.pruned_commits[1].timestamp == 1577880000
    lines, said = found(repo, "--depth=1", "-v")
    assert len(lines) == 2
    assert said == [
        f"Would delete commit {versions[1][:12]} (os/next, version 5.0, 2020-01-05)",
        f"Would delete commit {versions[0][:12]} (os/next, version 4.0, 2020-01-04)",
        f"Would delete commit {lost[:12]} (no ref, 2020-01-08)",
        f"Would delete commit {main[0][:12]} (main, 2020-01-01)",
    ]
    assert found(repo, "--depth=1") == (lines, [])
    assert object_files(repo) == before

    done = ostree_sweep.prune(repo, refs_only=True, depth=1)
    assert done.pruned_commits == ()
    gone = {f"{file.parent.name}{file.name}" for file in {*before} - {*object_files(repo)}}
    commits = {name for name in gone if name.endswith(".commit")}
    assert commits == {f"{each.commit}.commit" for each in report.pruned_commits}


def test_what_cannot_be_read_is_named_all_the_same(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    commit(repo, tree, 1, "--branch=main")
    lost = commit(repo, tree, 2, "--orphan")
    (repo / "objects" / lost[:2] / f"{lost[2:]}.commit").write_bytes(b"garbage")
    assert found(repo, "-v")[1] == [f"Would delete commit {lost[:12]} (no ref)"]


def test_a_terminal_shows_the_first_of_many(repo: Path, tmp_path: Path) -> None:
    for day in range(1, 19):
        commit(repo, tmp_path / "tree", day, "--branch=main")
    command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--depth=0", "--dry-run"]
    ours, its_end = pty.openpty()
    done = subprocess.run(command, check=True, stdout=its_end, stderr=subprocess.PIPE, text=True)
    os.close(its_end)
    os.close(ours)
    said = done.stderr.splitlines()
    assert said[0].endswith("(main, 2020-01-17)")
    assert len(said) == 16
    assert said[-1] == "Would delete 2 more commits; --verbose lists all"
    assert len(found(repo, "--depth=0", "-v")[1]) == 17


def test_no_commit_to_delete(repo: Path, tmp_path: Path) -> None:
    commit(repo, tmp_path / "tree", 1, "--branch=main")
    assert ostree_sweep.prune(repo, refs_only=True, dry_run=True).pruned_commits == ()
    assert found(repo, "-v")[1] == []
