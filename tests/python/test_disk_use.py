"""What `du` says of blocks on the disk, of what is no object, and of commits that `prune` keeps."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import ostree_sweep
from ostree_sweep.cli.table import size
from support.repositories import Commit, Delete, Delta, Description, Directory, File, build, listing
from support.sysroots import COMMAND, locked, output

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def blocks(paths: Iterable[Path]) -> int:
    """What files take on the disk, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in paths)


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir()]


def test_du_counts_blocks_and_with_apparent_size_contents(tmp_path: Path) -> None:
    tree = Directory(tuple((f"file{number}", File(str(number))) for number in range(30)))
    repo = build(Description((Commit("main", tree),)), tmp_path / "repo", "archive").path
    used = ostree_sweep.usage(repo)
    on_disk = blocks(files(repo / "objects"))
    contents = sum(path.lstat().st_size for path in files(repo / "objects"))
    assert (used.total.disk_bytes, used.total.bytes) == (on_disk, contents)
    assert on_disk > 2 * contents
    (holder,) = used.holders
    assert holder.exclusive == used.total
    assert used.garbage == ostree_sweep.StoredObjects(0, 0, 0)

    def total(*options: str) -> str:
        lines = output(COMMAND, "du", f"--repo={repo}", *options).splitlines()
        return next(line for line in lines if line.startswith("Total:"))

    assert total() == f"Total:    {on_disk / 1024:.1f} KiB in 33 objects"
    assert total("--apparent-size") == f"Total:    {contents / 1024:.1f} KiB in 33 objects"
    told = json.loads(output(COMMAND, "du", f"--repo={repo}", "--json"))["total"]
    assert told == {"objects": 33, "bytes": contents, "disk_bytes": on_disk}


def test_du_counts_deltas_and_what_is_in_tmp(tmp_path: Path) -> None:
    steps = (Commit("main", Directory((("a", File("1")),))), Delta(0, None))
    repo = build(Description(steps), tmp_path / "repo", "archive").path
    # As an interrupted pull leaves them.
    staging = repo / "tmp" / "staging-0-abc" / "objects" / "ab"
    staging.mkdir(parents=True)
    (staging / "cd.file").write_bytes(b"x" * 5000)
    # Nothing that is behind a symlink is in the repository.
    (repo / "tmp" / "elsewhere").symlink_to("/usr")
    used = ostree_sweep.usage(repo)
    found = files(repo / "deltas") + files(repo / "delta-indexes")
    assert found
    assert used.deltas == ostree_sweep.StoredFiles(
        len(found), sum(path.stat().st_size for path in found), blocks(found)
    )
    left = files(repo / "tmp")
    assert used.tmp == ostree_sweep.StoredFiles(
        len(left), sum(path.lstat().st_size for path in left), blocks(left)
    )
    lines = output(COMMAND, "du", f"--repo={repo}", "--apparent-size").splitlines()
    assert f"tmp:      {used.tmp.bytes / 1024:.1f} KiB in {len(left)} files" in lines
    assert any(line.startswith("Deltas:") and f"in {len(found)} files" in line for line in lines)


def test_du_says_which_garbage_prune_keeps(tmp_path: Path) -> None:
    steps = (
        Commit("main", Directory((("a", File("1")),))),
        Commit("os/test", Directory((("b", File("2")),))),
        Delete(0),
    )
    repo = build(Description(steps), tmp_path / "repo", "archive").path
    hint = "          with 1 commit that no ref keeps: only 'prune --refs-only' deletes such"

    used = ostree_sweep.usage(repo)
    assert (used.unreferenced_commits, used.garbage.objects > 1) == (1, True)
    assert hint in output(COMMAND, "du", f"--repo={repo}").splitlines()
    # It keeps them, indeed.
    assert "No unreachable objects" in output(COMMAND, "prune", f"--repo={repo}")
    assert f"Deleted {used.garbage.objects} objects" in output(
        COMMAND, "prune", "--refs-only", f"--repo={repo}"
    )
    assert ostree_sweep.usage(repo).unreferenced_commits == 0
    assert "refs-only" not in output(COMMAND, "du", f"--repo={repo}")


def test_status_of_a_repository(tmp_path: Path) -> None:
    steps = (
        Commit("main", Directory((("a", File("1")),))),
        Commit("os/test", Directory((("b", File("2")),))),
        Delete(1),
    )
    repo = build(Description(steps), tmp_path / "repo", "archive").path
    before = listing(repo)
    told = json.loads(output(COMMAND, "status", f"--repo={repo}", "--json"))
    lines = output(COMMAND, "status", f"--repo={repo}").splitlines()
    assert listing(repo) == before
    used = ostree_sweep.usage(repo)
    assert (told["refs"], told["unreferenced_commits"], told["unreachable"]["objects"]) == (1, 1, 0)
    assert told["unreferenced"]["objects"] == used.garbage.objects > 0
    assert told["total"]["disk_bytes"] == used.total.disk_bytes
    assert "Refs:            1" in lines
    assert "Unreachable:     0 B in 0 objects: 'prune' deletes them" in lines
    assert lines[0] == (
        f"Nothing unreachable; {size(used.garbage.disk_bytes)} in 1 commit without a ref: "
        "'prune --refs-only' deletes it"
    )

    with locked(repo / ".lock"):
        told = json.loads(output(COMMAND, "status", f"--repo={repo}", "--json"))
    assert [holder["pid"] for holder in told["lock_holders"]] == [os.getpid()]
    assert "still locked" in told["unreachable"]["error"]


def test_a_plan_names_no_thousand_commits(tmp_path: Path) -> None:
    steps = tuple(Commit("main", Directory((("a", File(str(number))),))) for number in range(13))
    repo = build(Description(steps), tmp_path / "repo", "archive").path
    command = (COMMAND, "plan", f"--repo={repo}", "--refs-only", "--depth=0")
    told = [line for line in output(*command).splitlines() if line.startswith("Dropped: ")]
    assert len(told) == 11
    assert told[-1] == "Dropped: 2 more commits; --verbose shows all"
    told = [line for line in output(*command, "--verbose").splitlines() if line.startswith("Dropped: ")]
    assert len(told) == 12
    assert len(json.loads(output(*command, "--json"))["dropped"]) == 12
