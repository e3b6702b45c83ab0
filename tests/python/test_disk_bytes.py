"""`disk_bytes_freed` is what `df` sees: on each file system, with checkouts that share files and without."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support.crash import FILE_SYSTEMS
from support.samples import COMMAND
from support.sysroots import BRANCH, Sysroot, make_tree, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root

# Files of which btrfs keeps none in its trees.
FILES, FILE_SIZE = 100, 100_000

# What there is beside the files: directories, metadata, the file system's own trees.
SHARE = 0.05

# A file system may free what was deleted in the background.
ENOUGH_S = 60.0


@contextmanager
def memory(place: Path) -> Iterator[Path]:
    """A file system in memory."""
    place.mkdir()
    output("mount", "-t", "tmpfs", "none", place)
    try:
        yield place
    finally:
        output("umount", place)


@pytest.fixture(params=["tmpfs", *(each.name for each in FILE_SYSTEMS)])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system."""
    kinds = {each.name: each for each in FILE_SYSTEMS}
    with memory(tmp_path / "mounted") if request.param == "tmpfs" else kinds[request.param].disk() as point:
        yield point
        subprocess.run(["chattr", "-R", "-f", "-i", point], check=False, capture_output=True)


def used(disk: Path) -> int:
    """What is in use once all is written, in bytes."""
    output("sync", "-f", disk)
    status = os.statvfs(disk)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def at_rest(disk: Path) -> int:
    """The same, when nothing is freed in the background any more."""
    found, before = used(disk), -1
    while found != before:
        time.sleep(0.1)
        found, before = used(disk), found
    return found


def assert_freed(disk: Path, before: int, freed: int) -> None:
    """Fails unless as much less is in use."""
    end = time.monotonic() + ENOUGH_S
    while abs(before - used(disk) - freed) > SHARE * freed:
        if time.monotonic() > end:
            raise AssertionError(f"{freed} bytes were freed, and df says {before - used(disk)}")
        time.sleep(0.2)


def write_files(place: Path) -> None:
    place.mkdir(parents=True)
    for number in range(FILES):
        (place / str(number)).write_bytes(os.urandom(FILE_SIZE))


def test_a_checkout_keeps_what_it_shares_with_garbage(disk: Path) -> None:
    """Half of what goes has another link."""
    repo, tree, checkout = disk / "repo", disk / "tree", disk / "checkout"
    output("ostree", "init", "--mode=bare", f"--repo={repo}")
    output("ostree", "config", "set", f"--repo={repo}", "core.fsync", "false")
    for name in ("shared", "alone"):
        write_files(tree / name)
        output("ostree", "commit", f"--repo={repo}", f"--branch={name}", tree)
        if name == "shared":
            output("ostree", "checkout", f"--repo={repo}", "--require-hardlinks", name, checkout)
        output("rm", "-r", tree)
        output("ostree", "refs", f"--repo={repo}", "--delete", name)
    before = at_rest(disk)
    told = ostree_sweep.prune(repo, refs_only=True, dry_run=True)
    done = ostree_sweep.prune(repo, refs_only=True)
    assert_freed(disk, before, done.disk_bytes_freed)
    assert told.disk_bytes_freed == done.disk_bytes_freed
    assert done.bytes_freed > 1.9 * FILES * FILE_SIZE
    assert FILES * FILE_SIZE < done.disk_bytes_freed < 1.2 * FILES * FILE_SIZE
    # The last link.
    before = at_rest(disk)
    output("rm", "-r", checkout)
    assert_freed(disk, before, FILES * FILE_SIZE)


def deploy(sysroot: Sysroot, version: int) -> str:
    tree = sysroot.path.with_name("tree")
    make_tree(tree, version, BRANCH, 3)
    write_files(tree / "usr" / "share" / "large")
    (tree / "usr" / "etc" / "large").write_bytes(os.urandom(10 * FILE_SIZE))
    checksum = sysroot.ostree("commit", f"--branch={BRANCH}", "--owner-uid=0", "--owner-gid=0", tree).strip()
    output("rm", "-r", tree)
    sysroot.admin("deploy", "--os=os", "--retain", BRANCH)
    return checksum


def leave(sysroot: Sysroot) -> None:
    """Drops the older deployment from the list; nothing of it is removed, as libostree's cleanup fails."""
    stray = sysroot.path / "ostree" / "deploy" / "os" / "deploy" / "stray"
    stray.mkdir()
    command = ["ostree", "admin", f"--sysroot={sysroot.path}", "undeploy", "1"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 1
    stray.rmdir()


@pytest.mark.parametrize("objects", ["go, too", "went before"])
def test_a_checkout_and_its_objects_count_once(disk: Path, objects: str) -> None:
    """Whichever link goes last; its `/etc`, its kernel and what a killed pull left count, too."""
    sysroot = Sysroot.create(disk / "sysroot")
    deploy(sysroot, 1)
    deploy(sysroot, 2)
    leave(sysroot)
    if objects == "went before":
        for index in sysroot.repo.glob("refs/heads/ostree/*/*/*"):
            index.unlink()
        sysroot.ostree("prune", "--refs-only", "--depth=0")
    write_files(sysroot.repo / "tmp" / "staging-another-boot-AbCdEf")
    before = at_rest(disk)
    told = ostree_sweep.cleanup(sysroot.path, dry_run=True)
    done = ostree_sweep.cleanup(sysroot.path)
    assert_freed(disk, before, done.disk_bytes_freed)
    assert done.deployments_removed
    assert done.tmp_bytes_freed == FILES * FILE_SIZE
    # xfs makes a directory smaller while it is emptied, which may take several slices.
    assert abs(told.disk_bytes_freed - done.disk_bytes_freed) < SHARE * done.disk_bytes_freed
    assert 2 * FILES * FILE_SIZE < done.disk_bytes_freed < 2.4 * FILES * FILE_SIZE


def test_static_deltas_count(disk: Path) -> None:
    repo, tree = disk / "repo", disk / "tree"
    output("ostree", "init", "--mode=archive", f"--repo={repo}")
    output("ostree", "config", "set", f"--repo={repo}", "core.fsync", "false")
    write_files(tree)
    output("ostree", "commit", f"--repo={repo}", "--branch=main", tree)
    output("ostree", "static-delta", f"--repo={repo}", "generate", "--empty", "main")
    output("rm", "-r", tree)
    output("ostree", "refs", f"--repo={repo}", "--delete", "main")
    before = at_rest(disk)
    told = ostree_sweep.prune(repo, refs_only=True, dry_run=True)
    done = ostree_sweep.prune(repo, refs_only=True)
    assert done.deltas_pruned == 1
    assert_freed(disk, before, done.disk_bytes_freed)
    assert told.disk_bytes_freed == done.disk_bytes_freed
    # The delta is as large as the objects, and `ostree` counts those only.
    assert done.disk_bytes_freed > 1.8 * done.bytes_freed


def test_people_are_told_what_the_disk_got_back(tmp_path: Path) -> None:
    """By a cleanup in its own line; by a prune, whose line is that of `ostree`, with `--verbose`."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    deploy(sysroot, 1)
    deploy(sysroot, 2)
    leave(sysroot)
    done = subprocess.run(
        [COMMAND, "cleanup", "--dry-run", f"--sysroot={sysroot.path}"],
        check=True,
        capture_output=True,
        text=True,
    )
    told = ostree_sweep.cleanup(sysroot.path, dry_run=True)
    assert f"freeing {told.disk_bytes_freed / (1 << 20):.1f} MiB" in done.stdout
    assert told.disk_bytes_freed > told.bytes_freed
