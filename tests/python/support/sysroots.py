"""Real sysroots, made by `ostree admin`, that can be booted by a stand-in.

A sysroot's versions are commits of one branch, as an updater gets them: the branch holds the newest, so that
an older one lives by its deployment alone. A fifth of a version's files is new, the rest is as it was before.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import shutil
import stat
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[3]
COMMAND = Path(sys.executable).with_name("ostree-sweep")
STAND_IN = PROJECT / "tests" / "support" / "boot-stand-in.sh"

# Who has been told to stop, and takes longer than that, is stuck.
ENOUGH_S = 30.0

BRANCH = "os/stable"

# What a process needs of the host, to run this Python with this package.
_HOST_PATHS = sorted({str(Path(path).resolve()) for path in (PROJECT, sys.prefix, sys.base_prefix)})
_MOUNT_POINTS = {Path(path).parts[1] for path in _HOST_PATHS}
_LINKS = {
    "bin": "usr/bin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "sbin": "usr/sbin",
    "ostree": "sysroot/ostree",
}


@dataclasses.dataclass(frozen=True)
class State:
    """What a cleanup leaves of a sysroot.

    Attributes:
        objects: the repository's objects, as `CHECKSUM.TYPE`.
        refs: the repository's refs and what they hold.
        deployments: the deployments' directories, relative to the sysroot.
        boot: files and links in `boot`, with a digest of the content, or where the link leads.
        paths: all there is, but for what merely tells that somebody has worked: locks, stamps, caches.
    """

    objects: frozenset[str]
    refs: dict[str, str]
    deployments: frozenset[str]
    boot: dict[str, str]
    paths: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Sysroot:
    """A physical root.

    Attributes:
        path: where it is.
        directories: how many directories each version has, with ten files each.
    """

    path: Path
    directories: int = 20

    @classmethod
    def create(cls, path: Path, *stateroots: str, directories: int = 20) -> Sysroot:
        """Makes a sysroot at `path`, where nothing may be yet; by default with one stateroot, `os`."""
        path.mkdir()
        sysroot = cls(path, directories)
        sysroot.admin("init-fs", path)
        for stateroot in stateroots or ("os",):
            sysroot.admin("os-init", stateroot)
        sysroot.ostree("config", "set", "sysroot.bootloader", "none")
        # The record of a cleanup is written over in place, and its making changes a directory.
        sysroot.record.touch()
        # A disk's own pace is none of the tests' business.
        sysroot.ostree("config", "set", "core.fsync", "false")
        return sysroot

    @property
    def repo(self) -> Path:
        """The repository."""
        return self.path / "ostree" / "repo"

    @property
    def record(self) -> Path:
        """The record of the last cleanup."""
        return self.path / "ostree" / "sweep.last"

    @property
    def stamp(self) -> Path:
        """Where the stamp is, if there is one."""
        return self.path / ".cleanup"

    def ostree(self, *arguments: object) -> str:
        """Runs `ostree` on the repository; returns what it prints."""
        return output("ostree", f"--repo={self.repo}", *arguments)

    def admin(self, *arguments: object) -> str:
        """Runs `ostree admin` on the sysroot, which isn't booted; returns what it prints."""
        return output("ostree", "admin", f"--sysroot={self.path}", *arguments)

    def commit(self, version: int, branch: str = BRANCH) -> str:
        """Commits a version on top of the branch; returns its checksum."""
        tree = self.path.with_name(f"{self.path.name}-tree")
        make_tree(tree, version, branch, self.directories)
        checksum = self.ostree("commit", f"--branch={branch}", "--owner-uid=0", "--owner-gid=0", tree)
        shutil.rmtree(tree)
        return checksum.strip()

    def deploy(self, version: int, *options: str, stateroot: str = "os", branch: str = BRANCH) -> str:
        """Commits a version and deploys it without a boot; returns the commit's checksum."""
        checksum = self.commit(version, branch)
        self.admin("deploy", f"--os={stateroot}", *options, branch)
        return checksum

    def deployment(self, checksum: str) -> Path:
        """The directory of a commit's deployment."""
        (path,) = self.path.glob(f"ostree/deploy/*/deploy/{checksum}.?")
        return path

    def boot(self, checksum: str, *command: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs a command as if a commit's deployment were booted; a single string is a shell script."""
        words = ["sh", "-euc", command[0]] if len(command) == 1 else command
        environment = {
            name: value for name, value in os.environ.items() if name not in ("OSTREE_REPO", "OSTREE_SYSROOT")
        }
        done = subprocess.run(
            [STAND_IN, self.path, self.deployment(checksum), "--", *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
            env={**environment, "STAND_IN_PATHS": ":".join(_HOST_PATHS)},
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def update(self, booted: str, version: int, *, then: str = "") -> str:
        """What an updater does: commits a version, stages it, finalizes it, as in a shutdown.

        Args:
            booted: checksum of the commit whose deployment is booted.
            version: the version to update to.
            then: a shell script to be run before the shutdown is over.

        Returns:
            The new version's checksum.
        """
        checksum = self.commit(version)
        self.boot(booted, f"ostree admin deploy --stage {BRANCH}; ostree admin finalize-staged\n{then}")
        return checksum

    def copy(self, path: Path, *, linked: bool = False) -> Sysroot:
        """A copy of all, with the same hard links inside.

        Args:
            path: where to; nothing may be there yet.
            linked: don't copy files but link them: fast, and enough where files are only removed.
        """
        output("cp", "-al" if linked else "-a", self.path, path)
        # `cp` knows nothing of file attributes.
        for deployment in path.glob("ostree/deploy/*/deploy/*.?"):
            output("chattr", "+i", deployment)
        return Sysroot(path)

    def remove(self) -> None:
        """Removes all of it."""
        deployments = list(self.path.glob("ostree/deploy/*/deploy/*.?"))
        if deployments:
            output("chattr", "-i", *deployments)
        shutil.rmtree(self.path)

    def objects(self) -> frozenset[str]:
        """The repository's objects, as `CHECKSUM.TYPE`."""
        return object_names(self.repo)

    def objects_of(self, checksum: str) -> frozenset[str]:
        """The objects that a commit in the repository reaches, itself included."""
        only = self.path.with_name(f"{self.path.name}-only")
        output("ostree", "init", "--mode=bare", f"--repo={only}")
        output("ostree", "pull-local", "--disable-fsync", f"--repo={only}", self.repo, checksum)
        reached = object_names(only)
        shutil.rmtree(only)
        return reached

    def state(self) -> State:
        """What there is, to be compared with what another cleanup leaves."""
        refs = self.repo / "refs"
        return State(
            objects=self.objects(),
            refs={
                str(ref.relative_to(refs)): ref.read_text(encoding="ascii")
                for ref in refs.rglob("*")
                if ref.is_file()
            },
            deployments=frozenset(
                str(path.relative_to(self.path)) for path in self.path.glob("ostree/deploy/*/deploy/*.?")
            ),
            boot={
                str(path.relative_to(self.path)): _content(path)
                for path in (self.path / "boot").rglob("*")
                if path.is_symlink() or path.is_file()
            },
            paths=frozenset(
                path for path in self.listing() if not path.endswith((".lock", "ostree/lock", ".cleanup"))
            ),
        )

    def listing(self) -> dict[str, tuple[int, ...]]:
        """Everything below but the record, by relative path, with all that changes with it, content apart."""
        found: dict[str, tuple[int, ...]] = {}
        for path in (self.path, *self.path.rglob("*")):
            if path == self.record:
                continue
            status = path.lstat()
            found[str(path.relative_to(self.path))] = (
                status.st_ino,
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_nlink,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
            )
        return found


def output(*command: object) -> str:
    """Runs a command; returns what it prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def started(*command: object) -> subprocess.Popen[str]:
    """Starts a command, whose output is to be read by `communicate`."""
    return subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(happened: Callable[[], bool]) -> None:
    """Waits for something that is to happen soon."""
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline, "that took too long"
        time.sleep(0.005)


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file exclusively, as libostree does."""
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    while True:
        with path.open("ab") as lock:
            fcntl.fcntl(lock, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
            # Whoever releases a sysroot's lock removes the file: then it is another one by now.
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                yield
                return


def object_names(repo: Path) -> frozenset[str]:
    """A repository's objects, as `CHECKSUM.TYPE`."""
    return frozenset(path.parent.name + path.name for path in repo.glob("objects/??/*"))


def make_tree(tree: Path, version: int, name: str, directories: int = 20) -> None:
    """Makes the least that libostree deploys and the stand-in boots, and ten files for each directory.

    No two versions and no two names have the same kernel.
    """
    modules = tree / "usr" / "lib" / "modules" / "6.1.0"
    modules.mkdir(parents=True)
    (modules / "vmlinuz").write_text(f"kernel {name} {version}", encoding="ascii")
    (modules / "initramfs.img").write_text(f"initramfs {name} {version}", encoding="ascii")
    (tree / "usr" / "etc").mkdir()
    (tree / "usr" / "etc" / "version").write_text(f"{version}", encoding="ascii")
    release = f'NAME={name}\nID=test\nVERSION={version}\nPRETTY_NAME="{name} {version}"\n'
    (tree / "usr" / "lib" / "os-release").write_text(release, encoding="ascii")
    for directory in ("boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var", *_MOUNT_POINTS):
        (tree / directory).mkdir(exist_ok=True)
    for link, target in _LINKS.items():
        (tree / link).symlink_to(target)
    for number in range(directories * 10):
        path = tree / "usr" / "share" / f"{number // 10}" / f"{number % 10}"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each version writes another fifth of the files anew.
        written = version - (version - number) % 5
        path.write_text(f"{name} {number} {written}\n" * 100, encoding="ascii")


def _content(path: Path) -> str:
    if stat.S_ISLNK(path.lstat().st_mode):
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest()
