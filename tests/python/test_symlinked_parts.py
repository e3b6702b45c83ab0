"""Symlinks in a repository: followed where people put them for `ostree`, and refused anywhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support import repositories
from support.crash import worn_repo
from support.repositories import listing, object_path, objects
from support.sysroots import COMMAND, output
from support.users import USER

if TYPE_CHECKING:
    from collections.abc import Iterator

PRUNE = ("prune", "--refs-only", "--depth=0")
PARTS = (
    "objects",
    "refs",
    "refs/heads",
    "refs/remotes",
    "refs/mirrors",
    "state",
    "deltas",
    "tmp",
    "tmp/cache",
)


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with garbage of every kind, to be copied."""
    return worn_repo(tmp_path_factory.mktemp("worn") / "repo", "archive", versions=4)


@pytest.fixture
def repo(worn: Path, tmp_path: Path) -> Path:
    """A copy of it, of which every file may be changed."""
    return repositories.copy(worn, tmp_path / "repo")


def sweep(repo: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(COMMAND), *PRUNE, f"--repo={repo}", *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def move(part: Path, to: Path) -> None:
    """Moves a directory elsewhere, and leads to it by a symlink."""
    part.mkdir(parents=True, exist_ok=True)
    shutil.move(part, to)
    part.symlink_to(to)


def some_directory(repo: Path) -> str:
    """An object directory that holds garbage."""
    garbage = objects(repo) - {f"{tip}.commit" for tip in repositories.refs(repo).values()}
    return f"objects/{min(garbage)[:2]}"


@contextmanager
def another_disk(at: Path) -> Iterator[Path]:
    at.mkdir()
    output("mount", "-t", "tmpfs", "tmpfs", at)
    try:
        yield at
    finally:
        output("umount", at)


@pytest.mark.needs_root
@pytest.mark.parametrize("part", [*PARTS, "an object directory"])
def test_a_part_on_another_disk(worn: Path, repo: Path, tmp_path: Path, part: str) -> None:
    reference = repositories.copy(worn, tmp_path / "reference")
    assert sweep(reference).returncode == 0
    part = some_directory(repo) if part == "an object directory" else part
    with another_disk(tmp_path / "disk") as disk:
        move(repo / part, disk / "part")
        planned = sweep(repo, "--dry-run")
        done = sweep(repo)
        assert (planned.returncode, done.returncode, done.stderr) == (0, 0, "")
        assert planned.stdout.splitlines()[0] == done.stdout.splitlines()[0]
        assert objects(repo) == objects(reference)
        repositories.fsck(repo)


def test_a_commit_that_appears_behind_a_symlink_is_noticed(repo: Path, tmp_path: Path) -> None:
    """A plan remembers directories by their stamps: a symlink's own would never change."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number in range(256):
        move(repo / "objects" / f"{number:02x}", elsewhere / f"{number:02x}")
    plan = ostree_sweep.plan(repo=repo, output=tmp_path / "plan", refs_only=True, depth=0)
    dropped = next(commit for commit in plan.dropped if commit.alone.objects > 1)
    tree = f"--tree=ref={dropped.commit}"
    commit = output("ostree", f"--repo={repo}", "commit", "--orphan", tree, "--timestamp=@1").strip()
    ostree_sweep.apply(plan)
    output("ostree", f"--repo={repo}", "refs", "--create=kept", commit)
    repositories.fsck(repo)


@pytest.mark.parametrize("below", ["deltas/AA", "delta-indexes/AA", "tmp/cache/summaries"])
def test_symlinks_deeper_down_are_refused(repo: Path, tmp_path: Path, below: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(repo / below, ignore_errors=True)
    (repo / below).parent.mkdir(parents=True, exist_ok=True)
    (repo / below).symlink_to(elsewhere)
    (elsewhere / ("A" * 41)).mkdir()
    before = listing(repo)
    for options in ([], ["--dry-run"]):
        done = sweep(repo, *options)
        assert done.returncode == 1
        assert f"{repo}/{below}: it is a symlink" in done.stderr
    assert listing(repo) == before
    assert (elsewhere / ("A" * 41)).exists()


@pytest.mark.parametrize("kind", ["commit", "dirtree"])
def test_a_symlink_in_place_of_an_object(repo: Path, tmp_path: Path, kind: str) -> None:
    commit = output("ostree", f"--repo={repo}", "rev-parse", "main").strip()
    root = repositories.nodes(repo, commit)[PurePosixPath("/")]
    name = f"{commit}.commit" if kind == "commit" else root[0]
    path = object_path(repo, name)
    path.rename(tmp_path / "object")
    path.symlink_to(tmp_path / "object")
    before = listing(repo)
    for options in ([], ["--dry-run"]):
        done = sweep(repo, *options)
        assert (done.returncode, done.stderr) == (1, f"error: {path}: it is a symlink\n")
    assert listing(repo) == before


@pytest.mark.parametrize("absolute", [True, False])
def test_an_alias_leads_to_no_file_outside(repo: Path, tmp_path: Path, *, absolute: bool) -> None:
    """What is behind it is told to nobody: it may be a secret of the same form."""
    secret = tmp_path / "secret"
    secret.write_text("5ec7e7" * 10 + "abcd", encoding="ascii")
    alias = repo / "refs" / "heads" / "alias"
    alias.symlink_to(secret if absolute else "../../../secret")
    before = listing(repo)
    for options in ([], ["--dry-run"]):
        done = sweep(repo, *options)
        assert done.returncode == 1
        assert done.stderr.startswith("error: refs/heads/alias: it is a symlink")
        assert "5ec7e7" not in done.stderr
    assert listing(repo) == before


@pytest.mark.needs_root
@pytest.mark.parametrize("whose", ["link", "directory"])
@pytest.mark.parametrize("part", ["objects", "refs/heads", "deltas", "tmp", "an object directory"])
def test_others_lead_root_nowhere(repo: Path, tmp_path: Path, part: str, whose: str) -> None:
    """A symlink of somebody else's, or to a directory of his, is not followed."""
    part = some_directory(repo) if part == "an object directory" else part
    elsewhere = tmp_path / "elsewhere"
    move(repo / part, elsewhere)
    os.lchown(repo / part if whose == "link" else elsewhere, USER, USER)
    before = listing(repo), listing(elsewhere)
    for options in ([], ["--dry-run"]):
        done = sweep(repo, *options)
        assert done.returncode == 1
        assert done.stderr.startswith(f"error: {repo}/{part}: it is a symlink")
    assert (listing(repo), listing(elsewhere)) == before
