"""Processes that are killed, and file systems that lose power: how to bring it about, and what must hold.

File systems are images, mounted by loop devices. A power cut is a copy of the image, made in an instant by
reflinks: it holds what the file system had submitted to its device by then.
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import repositories
from .repositories import Commit, Delete, Delta, Description, Directory, File, Pull, build, build_upstream
from .sysroots import COMMAND, PROJECT, State, Sysroot, output, started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The long form of the tests takes every step there is, and more instants; it runs for a good hour.
LONG = os.environ.get("OSTREE_SWEEP_LONG") == "1"

_TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT / "target"))
EXAMPLES = _TARGET / "release" / "examples"
KILLABLE = EXAMPLES / "killable"

DICE = random.SystemRandom()

# What slows a run down, so that there are more instants to it.
DELAY = ("-e", "inject=unlinkat:delay_enter=2000")
SLOWLY = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=unlinkat", *DELAY)


@dataclasses.dataclass(frozen=True)
class FileSystem:
    """A kind of file system.

    Attributes:
        name: what `mount -t` calls it.
        make: the command that makes one, without the image's name.
        mode: the mode of the repositories that are tried on it.
        options: those of `mount`.
    """

    name: str
    make: tuple[str, ...]
    mode: str
    options: str = "loop"

    @contextmanager
    def mounted(self, image: Path, at: Path) -> Iterator[Path]:
        """Mounts an image, which is made if there is none."""
        if not image.exists():
            with image.open("wb") as file:
                # As small as xfs can be.
                file.truncate(400 << 20)
            output(*self.make, image)
        at.mkdir(exist_ok=True)
        output("mount", "-t", self.name, "-o", self.options, image, at)
        try:
            yield at
        finally:
            _unmount(at)

    @contextmanager
    def disk(self) -> Iterator[Path]:
        """A new file system, in memory where that is possible."""
        with ExitStack() as stack:
            place = stack.enter_context(scratch_directory())
            yield stack.enter_context(self.mounted(place / "image", place / "mounted"))


FILE_SYSTEMS = (
    FileSystem("ext4", ("mkfs.ext4", "-q", "-F"), "bare"),
    # Any process with mounts of its own may keep another copy of the image mounted for a while.
    FileSystem("xfs", ("mkfs.xfs", "-q"), "archive", "loop,nouuid"),
    FileSystem("btrfs", ("mkfs.btrfs", "-q"), "bare-user"),
)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for images."""
    memory = Path("/dev/shm")  # noqa: S108 - only root's tests come here, and the name is made up safely
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@contextmanager
def reflinking_directory() -> Iterator[Path]:
    """A directory in which a file of any size is copied in an instant."""
    with scratch_directory() as place:
        with (place / "image").open("wb") as file:
            file.truncate(8 << 30)
        xfs = FileSystem("xfs", ("mkfs.xfs", "-q", "-m", "reflink=1"), "")
        output(*xfs.make, place / "image")
        with xfs.mounted(place / "image", place / "mounted") as mounted:
            yield mounted


def _unmount(at: Path) -> None:
    for _ in range(50):
        # Somebody may still be looking at it: a process that was just killed, or an indexer.
        if subprocess.run(["umount", at], check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    output("umount", at)


def worn_repo(path: Path, mode: str, versions: int) -> Path:
    """A repository with garbage of every kind, beside what is live.

    There are old versions that share parts with the live one and with one another, commits with detached
    metadata, static deltas, and partial commits with and without a ref.
    """
    upstream = build_upstream(path.with_name(f"{path.name}-upstream"), mode)
    steps: list[repositories.Step] = []
    for number in range(versions):
        branch = "main" if number % 4 else "os/test"
        steps.append(Commit(branch, _tree(number), detached_metadata=number % 3 == 0))
        if number % 4 == 1:
            steps.append(Delta(0, None))
    steps += [Pull("subpath", 0, by_ref=True), Pull("metadata", 1, by_ref=False), Delete(1)]
    return build(Description(tuple(steps)), path, mode, upstream).path


def _tree(number: int) -> Directory:
    def part(index: int) -> Directory:
        version = number // (index + 1)
        files = (("a", File(f"{index} {version}")), ("b", File(f"{index} {version % 3}")), ("c", File("c")))
        return Directory((*files, ("own", Directory((("d", File(f"{index} {version} d")),)))))

    return Directory(tuple((f"part{index}", part(index)) for index in range(4)))


def contents(repo: Path) -> frozenset[str]:
    """The files of a repository, but for what nobody keeps: locks, temporary files."""
    names = (str(path.relative_to(repo)) for path in repo.rglob("*") if path.is_symlink() or path.is_file())
    return frozenset(name for name in names if name != ".lock" and not name.startswith("tmp/"))


def linked_copy(repo: Path, to: Path) -> Path:
    """A copy that shares files: enough where files are only removed."""
    output("cp", "-al", repo, to)
    # A lock is the file's.
    (to / ".lock").unlink(missing_ok=True)
    return to


def killable(*arguments: object, kill: str | None = None) -> int:
    """Runs the core alone; returns its exit status.

    Args:
        arguments: see `examples/killable.rs`.
        kill: before which step to kill it, as `STEP:N`.
    """
    environment = {**os.environ, **({} if kill is None else {"OSTREE_SWEEP_KILL": kill})}
    command = [str(KILLABLE), *map(str, arguments)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode <= 0, f"{command}: {done.returncode}\n{done.stderr}"
    return done.returncode


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a repository held, and what an undisturbed prune leaves of it."""

    before: frozenset[str]
    after: frozenset[str]

    @classmethod
    def of(cls, repo: Path) -> Expected:
        """Finds it out, on a copy."""
        copy = linked_copy(repo, repo.with_name(f"{repo.name}-reference"))
        before = contents(copy)
        killable("prune", copy)
        after = contents(copy)
        shutil.rmtree(copy)
        assert after < before
        return cls(before, after)

    def check(self, repo: Path) -> None:
        """Fails unless a repository whose prune was cut off is sound, and the next one finishes the work."""
        left = contents(repo)
        assert self.after <= left, "something is lost"
        assert left <= self.before, "something is back"
        repositories.fsck(repo)
        killable("prune", repo)
        assert contents(repo) == self.after
        repositories.fsck(repo)


def worn_sysroot(path: Path) -> Sysroot:
    """A sysroot with a stamp, objects that nothing reaches, and a directory that is no deployment."""
    # Large enough for some objects of each kind in each step, and no larger: it is copied for each instant.
    sysroot = Sysroot.create(path, directories=5)
    # What is deployed has to be on disk when the power fails.
    sysroot.ostree("config", "set", "core.fsync", "true")
    for version in (1, 2, 3):
        newest = sysroot.deploy(version, "--no-prune")
    sysroot.commit(9, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    deployment = sysroot.deployment(newest)
    output("cp", "-al", deployment, deployment.with_suffix(".7"))
    sysroot.stamp.touch()
    return sysroot


@dataclasses.dataclass(frozen=True)
class ExpectedSysroot:
    """What an undisturbed cleanup leaves of a sysroot."""

    after: State

    @classmethod
    def of(cls, sysroot: Sysroot) -> ExpectedSysroot:
        """Finds it out, on a copy."""
        copy = sysroot.copy(sysroot.path.with_name(f"{sysroot.path.name}-reference"), linked=True)
        output(COMMAND, "cleanup", f"--sysroot={copy.path}")
        after = _state(copy)
        copy.remove()
        assert after.objects < sysroot.objects()
        assert after.deployments < sysroot.state().deployments
        return cls(after)

    def check(self, sysroot: Sysroot) -> None:
        """Fails unless a sysroot whose cleanup was cut off is sound, and the next one finishes the work."""
        left = _state(sysroot)
        assert self.after.objects <= left.objects, "something is lost"
        assert self.after.deployments <= left.deployments
        assert sysroot.stamp.exists() or left == self.after, "there is work left, and no stamp"
        repositories.fsck(sysroot.repo)
        killable("cleanup", sysroot.path)
        assert _state(sysroot) == self.after
        repositories.fsck(sysroot.repo)


def _state(sysroot: Sysroot) -> State:
    """A sysroot's state, but for stamps and refs on their way to their names, and libostree's locks."""
    state = sysroot.state()
    scratch = re.compile(r"(^|/)(tmp|\.cleanup)\.\w+$|^ostree/repo/tmp/staging-[^/]+-lock$")
    return dataclasses.replace(
        state,
        refs={name: commit for name, commit in state.refs.items() if not scratch.search(name)},
        paths=frozenset(path for path in state.paths if not scratch.search(path)),
    )


def kill_after(child: subprocess.Popen[str], seconds: float) -> None:
    """Kills a process, unless it ends sooner."""
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.communicate()


def power_cuts(image: Path, mounted: Path, command: Sequence[object], count: int) -> list[Path]:
    """Runs a command on a file system; returns images of what its device held at random instants of the run.

    The last of them is the moment at which the command ended.

    Args:
        image: the mounted file system's image, in a directory that can make reflinks.
        mounted: where it is mounted.
        command: what to run.
        count: how many images are wanted; a short run has fewer instants.
    """
    images: list[Path] = []

    def cut() -> None:
        images.append(image.with_name(f"{image.name}-{len(images)}"))
        output("cp", "--reflink=always", image, images[-1])

    output("sync", "-f", mounted)
    # File systems submit next to nothing for seconds if nobody asks them to.
    syncing = started("sh", "-c", 'while sync -f "$0"; do sleep 0.01; done', mounted)
    try:
        child = started(*SLOWLY, *command)
        while child.poll() is None:
            time.sleep(DICE.uniform(0, 0.05))
            cut()
    finally:
        kill_after(syncing, 0)
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    cut()
    return [*DICE.sample(images[:-1], min(count - 1, len(images) - 1)), images[-1]]
