"""A device: one sysroot over many updates, and what has to be true of it."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from disturbances import run
from support import repositories
from support.sysroots import BRANCH, COMMAND, State, Sysroot, make_tree, output

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from diary import Diary

OTHER_BRANCH = "other/stable"
DIRECTORIES = 10

_DEPLOYMENT = re.compile(r"^[* ] (\S+) ([0-9a-f]{64}\.\d+)", re.MULTILINE)

# What is OSTree's own below a physical root. The rest is somebody else's.
_OSTREES_OWN = re.compile(
    r"ostree/(repo|boot\.[01](\.[01])?|sweep\.(plan|last)|lock|\.sweep.*|deploy/[^/]+/deploy/[0-9a-f]{64}\.\d+(\.origin)?)(/|$)"
    r"|boot/(loader(\.[01])?|ostree)(/|$)|\.cleanup"
)


class Device:
    """A device.

    Attributes:
        sysroot: its physical root.
        precious: a directory elsewhere, that may be mounted in the sysroot.
        diary: what happened.
        dice: decides what happens.
        control: whether `ostree admin cleanup` takes our place.
        booted: directory's name of the deployment that is booted: `CHECKSUM.SERIAL`.
        refs: the user's and the updater's branches, and the commits that they hold.
        stamped: whether there has to be a stamp; None: nobody knows.
    """

    def __init__(self, place: Path, seed: int, diary: Diary, *, control: bool = False) -> None:
        """Makes a device below `place`.

        Args:
            place: a directory on a file system of the device's own.
            seed: decides which steps are taken.
            diary: takes down what happens.
            control: let `ostree admin cleanup` take our place.
        """
        self.diary = diary
        self.dice = random.Random(seed)
        self.control = control
        self.refs: dict[str, str] = {}
        self.stamped: bool | None = False
        self._version = 0
        self._digests: dict[str, str] = {}
        self.precious = place / "precious"
        self.precious.mkdir()
        (self.precious / "file").write_text("precious", encoding="ascii")
        self.sysroot = Sysroot.create(place / "sysroot", "os", "other")
        for branch, stateroot in ((OTHER_BRANCH, "other"), (BRANCH, "os"), (BRANCH, "os")):
            self.commit(branch)
            self.sysroot.admin("deploy", f"--os={stateroot}", branch)
        for path in (
            "data",
            "boot/firmware",
            "ostree/deploy/os/deploy/notes",
            "ostree/deploy/os/var/data",
            "ostree/deploy/other/var/data",
        ):
            (self.sysroot.path / path).write_text("somebody's own", encoding="ascii")
        self.booted = self.listed("os")[0]
        self._copy = Sysroot(place / "copy")
        self._memory = (dict(self.refs), self.booted)
        self._own = self._foreign()

    def commit(self, branch: str) -> str:
        """Commits a new version on a branch; returns its checksum."""
        self._version += 1
        tree = self.sysroot.path.with_name("tree")
        make_tree(tree, self._version, branch, DIRECTORIES)
        digest = tree_digest(tree / "usr")
        # Some are built by a machine whose clock is behind.
        day = self.dice.randint(1, 28)
        checksum = self.sysroot.ostree(
            "commit",
            f"--branch={branch}",
            f"--timestamp=2024-02-{day:02} 00:00:00 +0000",
            "--owner-uid=0",
            "--owner-gid=0",
            tree,
        ).strip()
        shutil.rmtree(tree)
        self.refs[branch] = checksum
        self._digests[checksum] = digest
        repositories.nodes(self.sysroot.repo, checksum)
        return checksum

    def drop(self, branch: str) -> None:
        """Deletes a branch."""
        self.sysroot.ostree("refs", "--delete", branch)
        del self.refs[branch]

    def orphan(self) -> None:
        """Makes a commit that no ref leads to."""
        self.commit("user/orphan")
        self.drop("user/orphan")

    def listed(self, stateroot: str | None = None) -> list[str]:
        """The deployments that libostree lists, or one stateroot's, by their directories' names."""
        found = _DEPLOYMENT.findall(self.sysroot.admin("status"))
        return [name for owner, name in found if stateroot in (None, owner)]

    def boot(self, *command: object, sysroot: Sysroot | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command as if the device were booted; a single string is a shell script."""
        return (sysroot or self.sysroot).boot(self.booted.split(".")[0], *command, check=False)

    def reboot(self) -> None:
        """Boots the deployment that is to be booted next."""
        self.booted = self.listed("os")[0]

    def expect(self, done: subprocess.CompletedProcess[str]) -> None:
        """Counts a command that failed."""
        if done.returncode != 0:
            self.diary.differs("exit status", f"{done.args}: {done.returncode} {done.stdout} {done.stderr}")

    def reference(self, cleanup: Callable[[Sysroot], object]) -> State:
        """What `ostree admin cleanup` leaves of a copy; in a control nobody needs to know.

        Args:
            cleanup: has it clean the copy up.
        """
        if self.control:
            return self.sysroot.state()
        copy = self._copied()
        cleanup(copy)
        state = copy.state()
        copy.remove()
        return state

    def remember(self) -> None:
        """Makes a copy to go on from, after a loss."""
        if self._copy.path.exists():
            self._copy.remove()
        self._copied()
        self._memory = (dict(self.refs), self.booted)

    def start_over(self) -> None:
        """Goes on as it was remembered."""
        self.sysroot.remove()
        self._copy.path.rename(self.sysroot.path)
        self.refs, self.booted = self._memory
        self.stamped = None
        (self.precious / "file").write_text("precious", encoding="ascii")
        self._own = self._foreign()

    def _copied(self) -> Sysroot:
        copy = self.sysroot.copy(self._copy.path, linked=True)
        # A lock is the file's.
        (copy.repo / ".lock").unlink(missing_ok=True)
        (copy.path / "ostree" / "lock").unlink(missing_ok=True)
        return copy

    def command(self, *options: str, sysroot: bool = True) -> list[str]:
        """The command that cleans up, ours or in a control the host's.

        Args:
            options: of ours.
            sysroot: name the sysroot, which nobody does who has booted it.
        """
        if self.control:
            return ["ostree", "admin", "cleanup", *([f"--sysroot={self.sysroot.path}"] if sysroot else [])]
        return [str(COMMAND), "cleanup", *options, *([f"--sysroot={self.sysroot.path}"] if sysroot else [])]

    def cleaned(
        self, done: subprocess.CompletedProcess[str], expected: State, *, complete: bool = True
    ) -> None:
        """Checks what a cleanup has left.

        Args:
            done: the cleanup.
            expected: what the reference has left.
            complete: whether all had to go.
        """
        if complete:
            self.expect(done)
            self.stamped = None if self.control else False
        if self.control:
            return
        state = self.sysroot.state()
        for kind in ("objects", "deployments", "paths"):
            found, wanted = getattr(state, kind), getattr(expected, kind)
            if kind == "paths":
                found, wanted = ({path for path in paths if _counts(path)} for paths in (found, wanted))
            if wanted - found:
                self.diary.lost(kind, sorted(wanted - found)[:5])
            if complete and found - wanted:
                self.diary.differs(kind, sorted(found - wanted)[:5])
        if complete and (state.refs, state.boot) != (expected.refs, expected.boot):
            self.diary.differs("refs, boot", f"{state.refs} {expected.refs} {state.boot} {expected.boot}")

    def look(self) -> None:
        """Checks what has to be true at any time."""
        sysroot, diary = self.sysroot, self.diary
        status = run("ostree", "admin", f"--sysroot={sysroot.path}", "status")
        deployments = [name for _, name in _DEPLOYMENT.findall(status.stdout)]
        if status.returncode != 0 or not deployments:
            diary.lost("deployment", f"no list: {status.stdout} {status.stderr}")
        for name in deployments:
            checksum = name.split(".")[0]
            (path,) = sysroot.path.glob(f"ostree/deploy/*/deploy/{name}") or (None,)
            if path is None or tree_digest(path / "usr") != self._digests[checksum]:
                diary.lost("checkout", name)
        held = {
            name.removeprefix("heads/"): commit
            for name, commit in repositories.refs(sysroot.repo).items()
            if name.startswith("heads/") and not name.startswith("heads/ostree/")
        }
        if held != self.refs:
            diary.lost("ref", sorted(set(self.refs.items()) ^ set(held.items())))
        present = repositories.objects(sysroot.repo)
        for commit in {*self.refs.values(), *(name.split(".")[0] for name in deployments)}:
            wanted = {f"{commit}.commit"}.union(*repositories.nodes(sysroot.repo, commit).values())
            if wanted - present:
                diary.lost("object", sorted(wanted - present)[:5])
        fsck = run("ostree", f"--repo={sysroot.repo}", "fsck", "--quiet")
        if fsck.returncode != 0:
            diary.lost("fsck", fsck.stderr)
        if self._foreign() != self._own:
            diary.lost("somebody's own", sorted(set(self._foreign().items()) ^ set(self._own.items()))[:5])
        if self.stamped is not None and sysroot.stamp.exists() != self.stamped:
            diary.lost("stamp", f"{self.stamped} was expected")

    def stamp(self) -> None:
        """Asks for a cleanup."""
        if not self.control:
            output(COMMAND, "stamp", f"--sysroot={self.sysroot.path}")
            self.stamped = True

    def write_own(self, path: str) -> None:
        """Has the user write a file of his own."""
        (self.sysroot.path / path).write_text(f"{self._version}", encoding="ascii")
        self._own = self._foreign()

    def _foreign(self) -> dict[str, str]:
        root = self.sysroot.path
        own = {str(path.relative_to(root)): path for path in _walk(root)}
        return {
            **{name: _content(path) for name, path in own.items()},
            **{f"precious/{path.name}": _content(path) for path in self.precious.iterdir()},
        }


def _walk(root: Path) -> Iterator[Path]:
    """All files below, but for those in OSTree's own directories, which are not entered."""
    for directory, names, files in os.walk(root):
        inside = Path(directory).relative_to(root)
        names[:] = [name for name in names if not _OSTREES_OWN.match(str(inside / name))]
        yield from (root / inside / name for name in files if not _OSTREES_OWN.match(str(inside / name)))


def _counts(path: str) -> bool:
    """Whether a path has to be the same after two cleanups; deployments' own refs are compared apart."""
    return not path.startswith(("ostree/sweep.plan", "ostree/repo/tmp/", "ostree/repo/refs/heads/ostree"))


def _content(path: Path) -> str:
    status = path.lstat()
    content = os.readlink(path).encode() if stat.S_ISLNK(status.st_mode) else path.read_bytes()  # noqa: PTH115
    return f"{status.st_mode:o} {status.st_uid} {hashlib.sha256(content).hexdigest()}"


def tree_digest(tree: Path) -> str:
    """A digest of all names, types and contents below a directory."""
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        status = path.lstat()
        digest.update(f"{path.relative_to(tree)}\0{stat.S_IFMT(status.st_mode)}\0".encode())
        if stat.S_ISREG(status.st_mode):
            digest.update(path.read_bytes())
        elif stat.S_ISLNK(status.st_mode):
            digest.update(os.readlink(path).encode())  # noqa: PTH115 - as it is, not resolved
    return digest.hexdigest()
