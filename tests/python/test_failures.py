"""A run that could not remove everything names what is left, or says how much is left because of what."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support.samples import COMMAND
from support.sysroots import object_names, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root


@pytest.fixture
def repo(tmp_path: Path) -> Iterator[Path]:
    """A repository with a commit to keep, and two that are garbage."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    output("ostree", "init", "--mode=bare", f"--repo={repo}")
    for name in ("gone", "also", "kept"):
        for number in range(20):
            path = tree / str(number // 5) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} {number}", encoding="ascii")
        output("ostree", "commit", f"--repo={repo}", f"--branch={name}", "--parent=none", tree)
    yield repo
    subprocess.run(["chattr", "-R", "-f", "-i", "-a", repo], check=False, capture_output=True)


def drop(repo: Path, *branches: str) -> frozenset[str]:
    """Deletes refs; returns what goes then."""
    kept, dead = repo.with_name("kept"), object_names(repo)
    output("ostree", "init", "--mode=bare", f"--repo={kept}")
    for branch in branches:
        output("ostree", "refs", f"--repo={repo}", "--delete", branch)
    output("ostree", "pull-local", f"--repo={kept}", repo)
    return dead - object_names(kept)


def named(failures: tuple[ostree_sweep.Failure, ...]) -> list[str]:
    paths = [re.fullmatch(r"objects/(..)/(.+)", failure.path) for failure in failures]
    assert all(paths)
    return [path[1] + path[2] for path in paths if path is not None]


@pytest.mark.parametrize("kind", ["commit", "dirtree", "file"])
def test_every_object_that_is_left_is_named_or_counted(repo: Path, kind: str) -> None:
    dead = drop(repo, "gone", "also")
    stuck = sorted(name for name in dead if name.endswith(f".{kind}"))[:1]
    for name in stuck:
        output("chattr", "+i", repo / "objects" / name[:2] / name[2:])
    with pytest.raises(ostree_sweep.PartialCleanupError) as caught:
        ostree_sweep.prune(repo, refs_only=True)
    report = caught.value.report
    left = dead & object_names(repo)
    assert named(report.failures) == stuck
    assert report.unfinished is not None
    because = re.match(
        "([0-9]+) objects stay, which a commit that can't be deleted needs: ", report.unfinished
    )
    if kind == "commit":
        assert because is not None
        assert int(because[1]) == len(left) - 1 > 20
        assert stuck[0].removesuffix(".commit") in report.unfinished
    else:
        assert left == set(stuck)
        assert report.unfinished == "1 item could not be removed"
    output("ostree", "fsck", f"--repo={repo}", "--quiet")
    output("chattr", "-R", "-i", repo)
    assert ostree_sweep.prune(repo, refs_only=True).unfinished is None
    assert not dead & object_names(repo)


def test_all_that_a_directory_keeps_is_named(repo: Path) -> None:
    """Nothing can be deleted in a directory that is immutable."""
    dead = drop(repo, "gone", "also")
    files = [name for name in dead if name.endswith(".file")]
    numbers = {name[:2] for name in files[:3]}
    stuck = {name for name in files if name[:2] in numbers}
    others = {name for name in dead - stuck if name[:2] in numbers}
    for number in numbers:
        output("chattr", "+i", repo / "objects" / number)
    with pytest.raises(ostree_sweep.PartialCleanupError) as caught:
        ostree_sweep.prune(repo, refs_only=True)
    report = caught.value.report
    left = dead & object_names(repo)
    assert stuck <= left
    assert left >= set(named(report.failures)) >= stuck
    if not any(name.endswith(".commit") for name in others):
        assert set(named(report.failures)) == left
        assert report.unfinished == f"{len(left)} items could not be removed"


def test_the_command_says_it(repo: Path) -> None:
    dead = drop(repo, "gone")
    (stuck,) = sorted(name for name in dead if name.endswith(".file"))[:1]
    output("chattr", "+i", repo / "objects" / stuck[:2] / stuck[2:])
    words = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert f"Deleted {len(dead) - 1} objects, " in done.stdout
    assert "Something is left: 1 item could not be removed\n" in done.stdout
    assert (
        done.stderr
        == f"error: cannot remove objects/{stuck[:2]}/{stuck[2:]}: Operation not permitted (os error 1)\n"
    )
