"""What belongs to commits that are gone goes with them, and is told alike by dry and real runs."""

from __future__ import annotations

import os
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support import repositories
from support.sysroots import COMMAND, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def commit(repo: Path, tree: Path, content: str, branch: str = "main") -> str:
    tree.mkdir(exist_ok=True)
    (tree / "file").write_text(content, encoding="ascii")
    return output("ostree", f"--repo={repo}", "commit", f"--branch={branch}", tree).strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """An archive with three commits on a branch."""
    repo = tmp_path / "repo"
    output("ostree", f"--repo={repo}", "init", "--mode=archive")
    for number in range(3):
        commit(repo, tmp_path / "tree", str(number))
    return repo


def caches(repo: Path) -> set[str]:
    """The commits that flatpak keeps something of."""
    return {path.parent.name + path.stem for path in repo.glob("objects/??/*.commitmeta2")}


@pytest.fixture
def flatpak_repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that flatpak made, and pruned once."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    repo, app = tmp_path / "flatpak", tmp_path / "app"
    for part in ("files", "export"):
        (app / part).mkdir(parents=True)
    metadata = "[Application]\nname=org.example.A\nruntime=org.example.R/x86_64/1\n"
    (app / "metadata").write_text(metadata, encoding="ascii")
    for number in range(4):
        (app / "files" / "file").write_text(str(number), encoding="ascii")
        output("flatpak", "build-export", repo, app, "stable")
    output("flatpak", "build-update-repo", "--prune", "--prune-depth=3", repo)
    assert caches(repo) == repositories.commits(repo)
    return repo


def test_what_flatpak_keeps_of_a_commit_goes_with_it(flatpak_repo: Path) -> None:
    before = len(caches(flatpak_repo))
    dry = ostree_sweep.prune(flatpak_repo, refs_only=True, depth=0, dry_run=True)
    real = ostree_sweep.prune(flatpak_repo, refs_only=True, depth=0)
    gone = before - len(caches(flatpak_repo))
    assert caches(flatpak_repo) == repositories.commits(flatpak_repo)
    assert gone > 0
    assert dry.leftovers_pruned == real.leftovers_pruned == gone
    assert (dry.objects_pruned, dry.bytes_freed) == (real.objects_pruned, real.bytes_freed)


def test_what_flatpak_keeps_goes_after_its_commit_too(flatpak_repo: Path) -> None:
    """`ostree` deletes the commit alone."""
    output("ostree", f"--repo={flatpak_repo}", "prune", "--refs-only", "--depth=0")
    orphans = len(caches(flatpak_repo) - repositories.commits(flatpak_repo))
    assert orphans > 0
    told: list[str] = []
    dry = ostree_sweep.prune(
        flatpak_repo, refs_only=True, depth=0, dry_run=True, items=lambda item: told.append(item.type)
    )
    real = ostree_sweep.prune(flatpak_repo, refs_only=True, depth=0)
    assert caches(flatpak_repo) == repositories.commits(flatpak_repo)
    assert dry.leftovers_pruned == real.leftovers_pruned == told.count("commitmeta2") == orphans


def test_a_plan_takes_it_along(flatpak_repo: Path, tmp_path: Path) -> None:
    plan = ostree_sweep.plan(repo=flatpak_repo, output=tmp_path / "plan", refs_only=True, depth=0)
    dry = ostree_sweep.apply(plan, dry_run=True)
    assert ostree_sweep.apply(plan).leftovers_pruned == dry.leftovers_pruned > 0
    assert caches(flatpak_repo) == repositories.commits(flatpak_repo)


def test_delta_indexes_are_counted(repo: Path) -> None:
    for number in range(3):
        target = output("ostree", f"--repo={repo}", "rev-parse", "main" + "^" * number).strip()
        output("ostree", f"--repo={repo}", "static-delta", "generate", "--empty", f"--to={target}")
    output("ostree", f"--repo={repo}", "static-delta", "reindex")
    output("ostree", f"--repo={repo}", "prune", "--refs-only", "--depth=0")
    indexes = set(repo.glob("delta-indexes/*/*"))
    dry = ostree_sweep.prune(repo, refs_only=True, depth=0, dry_run=True)
    real = ostree_sweep.prune(repo, refs_only=True, depth=0)
    gone = len(indexes - set(repo.glob("delta-indexes/*/*")))
    assert gone == 2
    assert dry.delta_indexes_pruned == real.delta_indexes_pruned == gone


def test_a_summary_of_a_remote_that_is_gone_is_counted(repo: Path) -> None:
    summaries = repo / "tmp" / "cache" / "summaries"
    summaries.mkdir(parents=True)
    for name in ("gone", "gone.sig"):
        (summaries / name).touch()
    dry = ostree_sweep.prune(repo, dry_run=True)
    assert dry.leftovers_pruned == ostree_sweep.prune(repo).leftovers_pruned == 2
    assert not list(summaries.iterdir())


@contextmanager
def memory(at: Path) -> Iterator[Path]:
    """A file system on which a sparse file can have any size."""
    at.mkdir()
    output("mount", "-t", "tmpfs", "tmpfs", at)
    try:
        yield at
    finally:
        output("umount", at)


@pytest.mark.needs_root
def test_sums_have_an_end(tmp_path: Path) -> None:
    """Three files of 8 EiB, less a byte each, are more than 64 bits can count."""
    with memory(tmp_path / "memory") as place:
        repo = place / "repo"
        output("ostree", f"--repo={repo}", "init", "--mode=archive")
        commit(repo, tmp_path / "tree", "live")
        for digit in "123":
            path = repo / "objects" / f"{digit}{digit}" / f"{digit * 62}.filez"
            path.parent.mkdir(exist_ok=True)
            path.touch()
            os.truncate(path, (1 << 63) - 1)
        most = (1 << 64) - 1
        assert ostree_sweep.prune(repo, dry_run=True).bytes_freed == most
        assert ostree_sweep.usage(repo=repo).garbage.bytes == most
        plan = ostree_sweep.plan(repo=repo, output=tmp_path / "plan")
        assert ostree_sweep.apply(plan, dry_run=True).bytes_freed == most
        assert ostree_sweep.prune(repo).bytes_freed == most
        assert not list(repo.glob("objects/[123][123]/*"))


@pytest.mark.needs_root
def test_settings_keep_their_owner_mode_and_attributes(repo: Path) -> None:
    """They may hold credentials, and be somebody else's."""
    parent = output("ostree", f"--repo={repo}", "rev-parse", "main^").strip()
    config = repo / "config"
    os.chown(config, 47_311, 47_312)
    os.setxattr(config, "user.note", b"kept")
    # The owner may read and write, user 47313 and the group may read: `struct posix_acl_xattr_entry`.
    rules = ((1, 6, -1), (2, 4, 47_313), (4, 4, -1), (16, 4, -1), (32, 0, -1))
    encoded = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *rule) for rule in rules)
    os.setxattr(config, "system.posix_acl_access", encoded)
    before = config.stat()
    ostree_sweep.prune(repo, delete_commit=parent)
    after = config.stat()
    assert "tombstone-commits=true" in config.read_text(encoding="ascii")
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert os.getxattr(config, "user.note") == b"kept"
    assert os.getxattr(config, "system.posix_acl_access") == encoded


@pytest.mark.needs_root
@pytest.mark.parametrize("umask", [0o002, 0o077])
def test_files_have_the_modes_that_libostree_gives_them(repo: Path, tmp_path: Path, umask: int) -> None:
    """In directories that hand down their group, everything has it."""
    parent = output("ostree", f"--repo={repo}", "rev-parse", "main^").strip()
    for directory in (repo, *(path for path in repo.rglob("*") if path.is_dir())):
        os.chown(directory, -1, 47_312)
        directory.chmod(0o2775)
    (repo / ".lock").unlink(missing_ok=True)
    made = {}
    for peer in ("ostree", "ostree-sweep"):
        trial = repositories.copy(repo, tmp_path / peer)
        command = f"umask {umask:o}; {peer} prune --repo={trial} --delete-commit={parent}"
        environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, env=environment)
        paths = [trial / ".lock", *trial.glob("objects/*/*.tombstone-commit")]
        assert len(paths) == 2
        made[peer] = {
            str(path.relative_to(trial)): (path.stat().st_mode, path.stat().st_gid) for path in paths
        }
    assert made["ostree"] == made["ostree-sweep"]
