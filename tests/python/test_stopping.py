"""Runs that stop when enough is freed or free, and dry runs that tell of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from support.repositories import Commit, Delete, Description, Directory, File, build, fsck, listing, objects
from support.sysroots import COMMAND, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
PIECES = 20


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a commit that a ref leads to, and one that none does."""
    steps = (
        Commit("main", Directory((("a", File("1")),))),
        Commit("os/test", Directory((("b", File("2")),))),
        Delete(1),
    )
    return build(Description(steps), tmp_path / "repo", "archive").path


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A repository on a file system of its own, with 20 files of 1 MiB that are garbage."""
    place = tmp_path / "small"
    place.mkdir()
    output("mount", "-t", "tmpfs", "-o", "size=100M", "small", place)
    try:
        repo, tree = place / "repo", tmp_path / "tree"
        tree.mkdir()
        output("ostree", f"--repo={repo}", "init", "--mode=archive")
        for number in range(PIECES):
            (tree / str(number)).write_bytes(os.urandom(MIB))
        output("ostree", f"--repo={repo}", "commit", "--branch=gone", tree)
        output("ostree", f"--repo={repo}", "refs", "--delete", "gone")
        yield repo
    finally:
        output("umount", place)


def free(repo: Path) -> int:
    stat = os.statvfs(repo)
    return stat.f_bavail * stat.f_frsize


@pytest.mark.needs_root
def test_a_prune_stops_when_so_much_is_free(small: Path) -> None:
    wanted = free(small) + 5 * MIB
    report = ostree_sweep.prune(small, refs_only=True, free_until=wanted, jobs=1)
    assert wanted <= free(small) < wanted + 2 * MIB
    assert report.free_bytes == free(small)
    assert report.unfinished == "as much is free as was asked for"
    fsck(small)

    # As a share, of which there is as much already: nothing more goes.
    before = objects(small)
    told = output(COMMAND, "prune", "--refs-only", "--free-until=1%", f"--repo={small}").splitlines()
    assert told == [f"{free(small) / MIB:.1f} MiB are free already, as asked: nothing to do"]
    assert objects(small) == before

    # More than there is can't be had: all goes.
    report = ostree_sweep.prune(small, refs_only=True, free_until="100%")
    assert report.unfinished is None
    assert not objects(small)


@pytest.mark.needs_root
def test_a_prune_on_a_full_disk_says_what_is_free_now(small: Path) -> None:
    with (small / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, free(small))
    lines = output(COMMAND, "prune", "--refs-only", f"--repo={small}").splitlines()
    assert lines[-1] == f"Free now: {free(small) / MIB:.1f} MiB"
    # And otherwise it says what `ostree` says.
    assert "Free now" not in output(COMMAND, "prune", "--refs-only", f"--repo={small}")


def test_a_dry_run_tells_that_a_real_run_would_stop(repo: Path) -> None:
    before = listing(repo)
    plain = ostree_sweep.prune(repo, refs_only=True, dry_run=True)
    bounds: list[dict[str, Any]] = [{"max_freed": plain.bytes_freed - 1}, {"free_until": 0}]
    for bound in bounds:
        told = ostree_sweep.prune(repo, refs_only=True, dry_run=True, **bound)
        assert told.unfinished is not None
        assert told.unfinished.startswith("a real run stops at the bound")
        assert (told.objects_pruned, told.bytes_freed) == (plain.objects_pruned, plain.bytes_freed)
    bounds = [{"max_freed": plain.bytes_freed}, {"free_until": "100%"}]
    for bound in bounds:
        told = ostree_sweep.prune(repo, refs_only=True, dry_run=True, **bound)
        assert told.unfinished is None
    assert listing(repo) == before


def test_a_dry_run_tells_what_the_deletion_of_a_commit_takes(repo: Path) -> None:
    (gone,) = {name for name in objects(repo) if name.endswith(".commit")} - {
        f"{output('ostree', f'--repo={repo}', 'rev-parse', 'main').strip()}.commit"
    }
    before = listing(repo)
    command = (COMMAND, "prune", f"--repo={repo}", f"--delete-commit={gone[:12]}", "--json")
    told = json.loads(output(*command, "--dry-run"))
    assert listing(repo) == before
    done = json.loads(output(*command))
    assert gone not in objects(repo)
    assert (told["objects_pruned"], told["by_type"]) == (done["objects_pruned"], done["by_type"])
    assert told["objects_pruned"] > 1


def test_a_commit_is_known_by_its_beginning(repo: Path) -> None:
    commits = sorted(name for name in objects(repo) if name.endswith(".commit"))
    kept = ostree_sweep.prune(repo, refs_only=True, protect_commits=[name[:10] for name in commits])
    assert kept.objects_pruned == 0
    assert sorted(name for name in objects(repo) if name.endswith(".commit")) == commits

    unknown = next(
        f"{number:04x}"
        for number in range(3)
        if not any(name.startswith(f"{number:04x}") for name in commits)
    )
    with pytest.raises(ostree_sweep.OstreeSweepError, match=f"no commit's checksum begins with '{unknown}'"):
        ostree_sweep.prune(repo, refs_only=True, protect_commits=[unknown])
    with pytest.raises(ValueError, match="'main' is not the checksum of a commit, nor the beginning of one"):
        ostree_sweep.prune(repo, refs_only=True, delete_commit="main")
    assert sorted(name for name in objects(repo) if name.endswith(".commit")) == commits


def test_a_beginning_that_several_commits_share_deletes_nothing(repo: Path) -> None:
    tree = repo.with_name("tree")
    tree.mkdir()
    beginnings: set[str] = set()
    # Among 257 two begin alike, and as a rule much earlier.
    for number in range(257):
        options = ("--orphan", f"--timestamp=@{number}")
        shared = output("ostree", f"--repo={repo}", "commit", *options, tree)[:2]
        if shared in beginnings:
            break
        beginnings.add(shared)
    before = listing(repo)
    with pytest.raises(ostree_sweep.OstreeSweepError, match=f"'{shared}' could be "):
        ostree_sweep.prune(repo, delete_commit=shared)
    assert listing(repo) == before
