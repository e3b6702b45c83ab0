"""Files that `ostree` never deletes though nothing owns them: `du` and `status` tell, `prune` deletes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from support.samples import COMMAND
from support.sysroots import output

if TYPE_CHECKING:
    from pathlib import Path

OTHER_BOOT = "00000000-1111-2222-3333-444444444444"
ABSENT = "ab" * 32


def at(repo: Path, checksum: str, suffix: str) -> Path:
    return repo / "objects" / checksum[:2] / f"{checksum[2:]}.{suffix}"


def mark(repo: Path, commit: str) -> Path:
    return repo / "state" / f"{commit}.commitpartial"


def copies(repo: Path) -> set[Path]:
    return set(repo.glob("uncompressed-objects-cache/??/*.file"))


def files(repo: Path) -> set[str]:
    """All files of a repository but its lock, as paths in it."""
    found = {str(path.relative_to(repo)) for path in repo.rglob("*") if not path.is_dir()}
    return found - {".lock"}


def commit(repo: Path, branch: str, *options: str) -> str:
    """Commits a tree of ten files; returns the commit's checksum."""
    tree = repo.with_name("tree")
    for number in range(10):
        path = tree / str(number)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{branch} {number}\n" * 500, encoding="utf-8")
    words = ("ostree", f"--repo={repo}", "commit", f"--branch={branch}", *options, tree)
    return output(*words).strip()


def checkout(repo: Path, branch: str, name: str) -> Path:
    """A checkout of which the files are linked from the repository's copies."""
    path = repo.with_name(name)
    output("ostree", f"--repo={repo}", "checkout", "--user-mode", branch, path)
    return path


def wait_until_old(repo: Path) -> None:
    """With an expiry of no seconds, a file is old once the second is over in which it was changed."""
    output("ostree", f"--repo={repo}", "config", "set", "core.tmp-expiry-secs", "0")
    newest = max(int(path.lstat().st_ctime) for path in repo.rglob("*"))
    while int(time.time()) <= newest:
        time.sleep(0.05)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    output("ostree", "init", "--mode=archive", f"--repo={path}")
    commit(path, "main")
    return path


@pytest.fixture
def littered(repo: Path) -> tuple[Path, set[str]]:
    """A repository with files of each kind, and those that nothing owns."""
    shutil.rmtree(checkout(repo, "main", "gone"))
    unused = copies(repo)
    assert len(unused) == 10
    commit(repo, "used")
    checkout(repo, "used", "stays")
    owned = commit(repo, "signed", "--add-detached-metadata-string=a=b")
    orphan = commit(repo, "lost", "--add-detached-metadata-string=a=b")
    output("ostree", f"--repo={repo}", "refs", "--delete", "lost")
    at(repo, orphan, "commit").unlink()
    mark(repo, orphan).touch()
    mark(repo, owned).touch()
    ownerless = {at(repo, orphan, "commitmeta"), mark(repo, orphan), *unused}
    return repo, {str(path.relative_to(repo)) for path in ownerless}


def test_what_nothing_owns_goes_and_nothing_else(littered: tuple[Path, set[str]]) -> None:
    repo, ownerless = littered
    wait_until_old(repo)
    before = files(repo)
    sizes = [(repo / path).stat() for path in ownerless]
    used = ostree_sweep.usage(repo).leftover_files
    assert used is not None
    assert used.files == len(ownerless)
    assert used.bytes == sum(each.st_size for each in sizes)
    assert used.disk_bytes == sum(each.st_blocks * 512 for each in sizes)
    told: dict[str, str] = {}
    dry = ostree_sweep.prune(
        repo, leftovers=True, dry_run=True, items=lambda item: told.update({item.name: item.type})
    )
    assert files(repo) == before
    done = ostree_sweep.prune(repo, leftovers=True)
    assert {name for name, kind in told.items() if kind not in done.by_type} == ownerless
    gone = before - files(repo)
    assert ownerless <= gone
    # What only the lost commit reached is garbage, which any prune deletes.
    assert len(gone - ownerless) == done.objects_pruned > 0
    assert dry.leftovers_pruned == done.leftovers_pruned == len(ownerless)
    assert dry.disk_bytes_freed == done.disk_bytes_freed >= used.disk_bytes
    output("ostree", "fsck", f"--repo={repo}", "--quiet")
    assert ostree_sweep.prune(repo, leftovers=True).leftovers_pruned == 0
    left = ostree_sweep.usage(repo).leftover_files
    assert left is not None
    assert left.files == 0
    # A checkout still gets its files, copied anew.
    assert len(list(checkout(repo, "main", "again").iterdir())) == 10


def test_only_a_mark_goes_if_nobody_asks_for_the_rest(littered: tuple[Path, set[str]]) -> None:
    repo, ownerless = littered
    wait_until_old(repo)
    (marked,) = (path for path in ownerless if path.startswith("state/"))
    assert ostree_sweep.prune(repo, dry_run=True).leftovers_pruned == 1
    assert ostree_sweep.prune(repo).leftovers_pruned == 1
    assert ownerless & files(repo) == ownerless - {marked}


def test_what_is_younger_than_a_day_stays(littered: tuple[Path, set[str]]) -> None:
    repo, ownerless = littered
    kept = {path for path in ownerless if not path.startswith("state/")}
    # That a file was written long ago, as a copy's may have been, does not make its arrival here old.
    for path in kept:
        os.utime(repo / path, (0, 0))
    used = ostree_sweep.usage(repo).leftover_files
    assert used is not None
    assert used.files == 1
    assert ostree_sweep.prune(repo, leftovers=True).leftovers_pruned == 1
    assert kept <= files(repo)


@pytest.mark.parametrize("owner", ["ref", "pull", "parent"])
def test_metadata_of_a_commit_that_is_wanted_stays(repo: Path, tmp_path: Path, owner: str) -> None:
    """By a ref whose commit is to be pulled again, a pull that was interrupted, a child repository."""
    at(repo, ABSENT, "commitmeta").parent.mkdir(exist_ok=True)
    at(repo, ABSENT, "commitmeta").touch()
    wait_until_old(repo)
    assert ostree_sweep.prune(repo, leftovers=True, dry_run=True).leftovers_pruned == 1
    if owner == "ref":
        (repo / "refs" / "heads" / "wanted").write_text(f"{ABSENT}\n", encoding="ascii")
    elif owner == "pull":
        staged = repo / "tmp" / f"staging-{OTHER_BOOT}-x" / ABSENT[:2] / f"{ABSENT[2:]}.commit"
        staged.parent.mkdir(parents=True)
        staged.touch()
    else:
        parent = tmp_path / "parent"
        output("ostree", "init", "--mode=archive", f"--repo={parent}")
        at(parent, ABSENT, "commit").parent.mkdir(exist_ok=True)
        at(parent, ABSENT, "commit").touch()
        output("ostree", f"--repo={repo}", "config", "set", "core.parent", parent)
    used = ostree_sweep.usage(repo, depth=0) if owner != "ref" else None
    assert used is None or (used.leftover_files is not None and used.leftover_files.files == 0)
    options: dict[str, Any] = {"ignore_missing_commits": True, "leftovers": True}
    assert ostree_sweep.prune(repo, dry_run=True, **options).leftovers_pruned == 0
    assert ostree_sweep.prune(repo, **options).leftovers_pruned == 0
    assert at(repo, ABSENT, "commitmeta").exists()


def test_a_copy_that_a_checkout_links_to_stays(repo: Path) -> None:
    """Whether it was there before, or came while others went."""
    first, second = checkout(repo, "main", "first"), checkout(repo, "main", "second")
    shutil.rmtree(first)
    wait_until_old(repo)
    assert ostree_sweep.prune(repo, leftovers=True).leftovers_pruned == 0
    (second / "3").unlink()
    wait_until_old(repo)
    assert ostree_sweep.prune(repo, leftovers=True).leftovers_pruned == 1
    assert len(copies(repo)) == 9


def test_what_is_no_copy_stays(repo: Path) -> None:
    """Only files with a copy's name go, and only in a repository of mode archive."""
    shutil.rmtree(checkout(repo, "main", "gone"))
    (place, *_) = {path.parent for path in copies(repo)}
    odd = [place / "README", place / f"{'a' * 62}.filez", place / f"{'b' * 62}.file", place.parent / "file"]
    for path in odd:
        path.touch()
    odd[2].unlink()
    odd[2].mkdir()
    wait_until_old(repo)
    output("ostree", f"--repo={repo}", "config", "set", "core.mode", "bare-user")
    assert ostree_sweep.prune(repo, leftovers=True, commit_only=True, dry_run=True).leftovers_pruned == 0
    output("ostree", f"--repo={repo}", "config", "set", "core.mode", "archive")
    assert ostree_sweep.prune(repo, leftovers=True).leftovers_pruned == 10
    assert all(path.exists() for path in odd)


def test_a_bound_is_heeded(littered: tuple[Path, set[str]]) -> None:
    repo, ownerless = littered
    wait_until_old(repo)
    done = ostree_sweep.prune(repo, leftovers=True, max_freed=0)
    assert done.unfinished is not None
    assert {path for path in ownerless if not path.startswith("state/")} <= files(repo)


def test_the_command_tells_it(littered: tuple[Path, set[str]]) -> None:
    repo, ownerless = littered
    wait_until_old(repo)
    hint = f" in {len(ownerless)} files: 'prune --leftovers' deletes them"
    for command in ("du", "status"):
        text = output(COMMAND, command, f"--repo={repo}")
        assert hint in text
        data = json.loads(output(COMMAND, command, "--json", f"--repo={repo}"))
        assert data["leftover_files"]["files"] == len(ownerless)
    words = [str(COMMAND), "prune", f"--repo={repo}", "--leftovers", "--verbose"]
    done = subprocess.run([*words, "--dry-run"], check=True, capture_output=True, text=True)
    assert f"Would delete leftovers: {len(ownerless)} files\n" in done.stdout
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    assert f"Deleted leftovers: {len(ownerless)} files\n" in done.stdout
    for path in ownerless:
        why = "no checkout is linked to it" if path.startswith("uncompressed") else "is not there"
        (line,) = (line for line in done.stderr.splitlines() if line.startswith(f"{path}  "))
        assert line.endswith(why)
    for command in ("du", "status"):
        assert "eftover" not in output(COMMAND, command, f"--repo={repo}")
