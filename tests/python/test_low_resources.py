"""Full disks, little memory, few threads or files, disks that fail: it does what it can and no harm."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest

import ostree_sweep
from support import repositories
from support.crash import (
    FILE_SYSTEMS,
    LONG,
    FileSystem,
    linked_copy,
    scratch_directory,
    worn_repo,
    worn_sysroot,
)
from support.repositories import listing, objects
from support.sysroots import COMMAND, Sysroot, output
from support.users import give, sweep_as

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

PRUNE = ("prune", "--refs-only", "--depth=0")

# Small enough to be filled quickly; ext4 alone has a limit of its own for inodes.
_OPTIONS = {"ext4": ("-N", "8000"), "btrfs": ("--mixed",)}
SMALL = [
    dataclasses.replace(system, make=(*system.make, *_OPTIONS.get(system.name, ())))
    for system in FILE_SYSTEMS
]


def sweep_all(*arguments: object) -> None:
    """Runs the command until all is done, which takes more than one run where a full disk is a btrfs."""
    for _ in range(10):
        done = sweep(*arguments)
        if done.returncode == 0:
            assert done.stderr == ""
            return
        assert done.returncode == 3, done.stderr
        lines = done.stderr.splitlines()
        assert all(
            re.fullmatch("error: cannot remove .*: No space left on device .*", line) for line in lines
        )
    raise AssertionError(done.stderr)


def sweep(*arguments: object, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs the command, started by another one if need be."""
    command = [*under, str(COMMAND), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def fill(directory: Path) -> None:
    """Takes a file system's last inode and its last byte."""
    below = directory / "ballast"
    below.mkdir()
    with (below / "bytes").open("wb", buffering=0) as file:
        # More than the inodes of ext4. The others make inodes as long as there is room.
        create(below, "inode", 9000)
        size = 16 << 20
        while size:
            if not has_room_for(lambda: file.write(bytes(size))):  # noqa: B023 - called at once
                size //= 2
    assert not create(below, "more", 100_000)


def create(directory: Path, name: str, count: int) -> bool:
    """Creates empty files; false if there is no room for them all."""
    return all(has_room_for((directory / f"{name}{number}").touch) for number in range(count))


def has_room_for(action: Callable[[], object]) -> bool:
    """Does something, if the disk is not too full for it."""
    try:
        action()
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


@contextmanager
def without_room(place: Path) -> Iterator[None]:
    """Fills the file system for a while."""
    fill(place)
    assert not create(place, "more", 1)
    yield
    shutil.rmtree(place / "ballast")


def name_of(system: FileSystem) -> str:
    return system.name


@pytest.fixture(params=SMALL, ids=name_of)
def disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system of each kind."""
    system: FileSystem = request.param
    with system.disk() as mounted:
        yield mounted


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with garbage of every kind, to be copied."""
    return worn_repo(tmp_path_factory.mktemp("worn") / "repo", "archive", versions=8)


@pytest.fixture
def repo(worn: Path, tmp_path: Path) -> Path:
    """A copy of it, with a lock file."""
    copy = linked_copy(worn, tmp_path / "repo")
    (copy / ".lock").touch()
    return copy


@pytest.fixture
def left(worn: Path, tmp_path: Path) -> set[str]:
    """The names of the objects that an undisturbed prune leaves."""
    copy = linked_copy(worn, tmp_path / "reference")
    ostree_sweep.prune(copy, refs_only=True, depth=0)
    return objects(copy)


@pytest.mark.needs_root
def test_a_prune_on_a_full_disk(disk: Path, worn: Path, left: set[str]) -> None:
    repo = repositories.copy(worn, disk / "repo")
    (repo / ".lock").touch()
    before = objects(repo)
    with without_room(disk):
        dry = sweep(*PRUNE, f"--repo={repo}", "--dry-run")
        sweep_all(*PRUNE, f"--repo={repo}")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert objects(repo) == left < before
    repositories.fsck(repo)


@pytest.mark.needs_root
@pytest.mark.parametrize("disk", SMALL if LONG else SMALL[:1], indirect=True, ids=name_of)
def test_tombstones_on_a_full_disk(disk: Path, worn: Path, left: set[str]) -> None:
    """For want of room commits may go without; it is said which."""
    repo = repositories.copy(worn, disk / "repo")
    (repo / ".lock").touch()
    output("ostree", f"--repo={repo}", "config", "set", "core.tombstone-commits", "true")
    gone = {name for name in objects(repo) - left if name.endswith(".commit")}
    with without_room(disk):
        done = sweep(*PRUNE, f"--repo={repo}")
    tombstones = {path.parent.name + path.stem for path in repo.glob("objects/??/*.tombstone-commit")}
    named = re.findall(r"cannot remove objects/(..)/(\w{62})\.tombstone-commit: No space left", done.stderr)
    assert done.returncode == (3 if done.stderr else 0)
    assert tombstones | {"".join(parts) for parts in named} == {name.split(".")[0] for name in gone}
    sweep_all(*PRUNE, f"--repo={repo}")
    assert {name for name in objects(repo) if not name.endswith(".tombstone-commit")} == left
    repositories.fsck(repo)


def outdated_sysroot(path: Path) -> Sysroot:
    """A sysroot in which only the repository has to be cleaned up, as after a finalization."""
    sysroot = worn_sysroot(path)
    sysroot.admin("cleanup")
    # One version that nothing keeps, and one that a ref keeps which libostree is to remove.
    sysroot.commit(8, "dead")
    sysroot.ostree("refs", "--create=ostree/1/1/7", sysroot.commit(7, "once"))
    sysroot.ostree("refs", "--delete", "dead", "once")
    sysroot.stamp.touch()
    return sysroot


@pytest.mark.needs_root
@pytest.mark.parametrize("disk", SMALL[:2], indirect=True, ids=name_of)
def test_a_cleanup_on_a_full_disk(disk: Path) -> None:
    """Even libostree's own part, which writes refs, is done once there is room for it.

    A btrfs that is full to the last byte would need more to be deleted than there is here.
    """
    sysroot = outdated_sysroot(disk / "sysroot")
    reference = sysroot.copy(disk / "reference")
    output(COMMAND, "cleanup", f"--sysroot={reference.path}")
    with without_room(disk):
        done = sweep("cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
        assert (done.returncode, done.stderr) == (0, "")
        assert not sysroot.stamp.exists()
    assert sysroot.objects() == reference.objects()
    assert sysroot.state().refs == reference.state().refs
    repositories.fsck(sysroot.repo)
    for each in (sysroot, reference):
        each.remove()


@contextmanager
def without_blocks(place: Path) -> Iterator[None]:
    """Fills the file system but for its inodes, for a while."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 512):
            while has_room_for(lambda: file.write(bytes(size))):  # noqa: B023 - called at once
                pass
    yield
    ballast.unlink()


@pytest.mark.needs_root
@pytest.mark.parametrize("is_full", [without_room, without_blocks])
def test_a_cleanup_is_asked_for_and_done_on_a_full_disk(
    disk: Path, is_full: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """Where the disk is full when an update is finalized, the next boot must not find that nothing is due."""
    sysroot = worn_sysroot(disk / "sysroot")
    sysroot.stamp.unlink()
    prepared = sweep("stamp", "--prepare", f"--sysroot={sysroot.path}")
    spare = sysroot.path / ".cleanup.spare"
    assert (prepared.returncode, prepared.stdout) == (0, f"Prepared: {spare}\n")
    before = sysroot.objects()
    with is_full(disk):
        stamped = sweep("stamp", f"--sysroot={sysroot.path}")
        assert (stamped.returncode, stamped.stderr) == (0, "")
        assert (
            "No cleanup needed"
            not in sweep(
                "cleanup", "--auto", "--impact=full", "--dry-run", f"--sysroot={sysroot.path}"
            ).stdout
        )
        assert {path.name for path in sysroot.path.glob(".cleanup*")} <= {".cleanup", ".cleanup.spare"}
        sweep_all("cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
    assert sysroot.objects() < before
    assert not sysroot.stamp.exists()
    repositories.fsck(sysroot.repo)


@pytest.mark.needs_root
def test_a_stamp_on_a_full_disk_for_which_nothing_is_prepared(disk: Path) -> None:
    """It is empty where that is possible, and otherwise an error."""
    directory = disk / "sysroot"
    (directory / "ostree").mkdir(parents=True)
    output("ostree", f"--repo={directory}/ostree/repo", "init")
    with without_room(disk):
        refused = sweep("stamp", f"--sysroot={directory}")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == f"error: {directory}/.cleanup: No space left on device\n"
        assert list(directory.glob(".cleanup*")) == []
    with without_blocks(disk):
        made = sweep("stamp", f"--sysroot={directory}")
        stamps = [path.stat().st_size for path in directory.glob(".cleanup*")]
    assert (made.returncode, stamps) in ((0, [0]), (1, []))
    if output("stat", "--file-system", "--format=%T", disk).startswith("ext"):
        assert made.returncode == 0


@pytest.mark.needs_root
@pytest.mark.parametrize("refs", ["right", "missing"])
def test_a_full_disk_with_nothing_to_delete(refs: str) -> None:
    """The stamp stays if a deployment's ref could not be written."""
    with SMALL[0].disk() as disk:
        sysroot = worn_sysroot(disk / "sysroot")
        output(COMMAND, "cleanup", f"--sysroot={sysroot.path}")
        sysroot.stamp.touch()
        if refs == "missing":
            for ref in sysroot.repo.glob("refs/heads/ostree/?/?/?"):
                ref.unlink()
        before = sysroot.state()
        with without_room(disk):
            done = sweep("cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
        if refs == "missing":
            assert done.returncode == 3
            assert done.stderr.startswith("error: cannot remove ostree/repo/refs/heads/ostree: No space left")
        else:
            assert done.returncode == 0
        assert sysroot.stamp.exists() == (refs == "missing")
        assert sysroot.objects() == before.objects
        sysroot.remove()


@pytest.fixture(scope="module")
def big() -> Iterator[Path]:
    """A repository as big as a device's, of which half is garbage: some 50,000 objects."""
    with scratch_directory() as place:
        repo = place / "repo"
        output("ostree", f"--repo={repo}", "init", "--mode=bare-user-only")
        for branch in ("live", "dead"):
            for number in range(500):
                directory = place / branch / f"{number // 40}" / f"{number}"
                directory.mkdir(parents=True)
                for file in range(50):
                    (directory / f"{file}").write_text(f"{branch} {number} {file}", encoding="ascii")
            options = ("--fsync=false", "--consume", "--canonical-permissions")
            output("ostree", f"--repo={repo}", "commit", f"--branch={branch}", *options, place / branch)
        output("ostree", f"--repo={repo}", "refs", "--delete", "dead")
        assert len(objects(repo)) > 50_000
        yield repo


@pytest.mark.parametrize("limit", [f"--data={64 << 20}", "--nofile=64"], ids=["memory", "descriptors"])
def test_limits(big: Path, limit: str) -> None:
    """64 MiB of memory, Python's own and the stacks of all threads included; or 64 descriptors."""
    repo = linked_copy(big, big.with_name("limited"))
    done = sweep(*PRUNE, f"--repo={repo}", under=("prlimit", limit))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Deleted 255" in done.stdout
    repositories.fsck(repo)
    shutil.rmtree(repo)


@pytest.mark.needs_root
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_few_threads(worn: Path, left: set[str], threads: int) -> None:
    """Who can't have all the threads he wants does with those he gets, and never waits for the others."""
    with tempfile.TemporaryDirectory() as directory:
        # Unlike pytest's own directories, others may pass through this one.
        Path(directory).chmod(0o755)
        repo = repositories.copy(worn, Path(directory) / "repo")
        give(repo)
        before = listing(repo)
        done = sweep_as(*PRUNE, f"--repo={repo}", "--jobs=8", threads=threads)
        if threads == 1:
            assert done.returncode == 1
            assert done.stderr.startswith("error: ")
            assert "Resource temporarily unavailable" in done.stderr
            assert done.stderr.count("\n") == 1
            assert listing(repo) == before
        else:
            assert (done.returncode, done.stderr) == (0, "")
            assert objects(repo) == left
            repositories.fsck(repo)


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Makes a directory a read-only mount for a while."""
    output("mount", "--bind", path, path)
    try:
        output("mount", "-o", "remount,bind,ro", path)
        yield
    finally:
        output("umount", path)


@pytest.mark.needs_root
def test_a_cleanup_on_a_read_only_disk(tmp_path: Path) -> None:
    sysroot = worn_sysroot(tmp_path / "sysroot")
    before = sysroot.listing()
    with read_only(sysroot.path):
        dry = sweep("cleanup", "--auto", "--impact=full", "--dry-run", f"--sysroot={sysroot.path}")
        done = sweep("cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sysroot.listing() == before
    sysroot.remove()


def failing(call: str, *paths: object) -> tuple[str, ...]:
    """What runs a command for which a system call fails with an input/output error on these paths only."""
    chosen = (word for path in paths for word in ("-P", str(path)))
    inject = f"inject={call}:error=EIO"
    return ("strace", "-f", "-qq", "-o", os.devnull, *chosen, "-e", f"trace={call}", "-e", inject)


def object_directories(repo: Path, wanted: set[str]) -> list[Path]:
    """The object directories of some objects, the fullest first."""
    found = [name[:2] for name in wanted]
    return [repo / "objects" / name for name in sorted(set(found), key=found.count, reverse=True)]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("what", ["objects", "refs", "dirtree", "commit", "ref", "config"])
def test_what_cannot_be_read_stops_before_the_first_unlink(
    repo: Path, left: set[str], what: str, dry_run: bool
) -> None:
    """A disk that fails on one directory, or one file."""
    if what == "objects":
        call, path = "getdents64", object_directories(repo, objects(repo) - left)[0]
    elif what == "refs":
        call, path = "getdents64", repo / "refs" / "heads" / "os"
    elif what == "ref":
        call, path = "read", repo / "refs" / "heads" / "main"
    elif what == "config":
        call, path = "read", repo / "config"
    else:
        name = min(name for name in left if name.endswith(f".{what}"))
        call, path = "read,pread64", repositories.object_path(repo, name)
    before = listing(repo)
    options = ("--dry-run",) if dry_run else ()
    done = sweep(*PRUNE, f"--repo={repo}", *options, under=failing(call, path))
    assert done.returncode == 1
    assert done.stderr == f"error: {path}: Input/output error\n"
    assert listing(repo) == before


def test_what_cannot_be_deleted_is_named_and_the_rest_goes(repo: Path, left: set[str]) -> None:
    """A disk that fails to change one directory."""
    garbage = objects(repo) - left
    directory = object_directories(repo, {name for name in garbage if not name.endswith(".commit")})[0]
    stuck = {name for name in garbage if name[:2] == directory.name}
    # A commit that stays keeps what it reaches.
    assert not any(name.endswith(".commit") for name in stuck)
    done = sweep(*PRUNE, f"--repo={repo}", under=failing("unlinkat", directory))
    assert done.returncode == 3
    named = sorted(line.split(": ")[1].rpartition(" ")[2] for line in done.stderr.splitlines())
    mode = {".file": ".filez"}
    assert named == sorted(
        f"objects/{name[:2]}/{Path(name[2:]).stem}{mode.get(Path(name).suffix, Path(name).suffix)}"
        for name in stuck
    )
    assert all(line.endswith("Input/output error (os error 5)") for line in done.stderr.splitlines())
    assert objects(repo) == left | stuck
    repositories.fsck(repo)
    assert sweep(*PRUNE, f"--repo={repo}").returncode == 0
    assert objects(repo) == left


def test_an_error_has_the_report_of_what_was_done(repo: Path) -> None:
    before = objects(repo)
    done = sweep(*PRUNE, f"--repo={repo}", "--json", under=failing("fsync", *repo.glob("objects/??")))
    assert done.returncode == 1
    outcome = json.loads(done.stdout)
    assert outcome["error"]["type"] == "OSError"
    assert outcome["report"]["objects_pruned"] == len(before - objects(repo)) > 0


def test_a_barrier_that_fails_ends_the_run(repo: Path, left: set[str]) -> None:
    """If it is not sure that commits are gone for good, all that they reach stays."""
    before = objects(repo)
    done = sweep(*PRUNE, f"--repo={repo}", under=failing("fsync", *repo.glob("objects/??")))
    assert done.returncode == 1
    assert done.stderr.endswith(": Input/output error\n")
    gone = before - objects(repo)
    assert gone
    assert all(name.endswith(".commit") for name in gone)
    assert done.stdout.startswith(f"Deleted {len(gone)} objects, ")
    repositories.fsck(repo)
    assert sweep(*PRUNE, f"--repo={repo}").returncode == 0
    assert objects(repo) == left
