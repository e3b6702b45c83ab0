"""Random repositories, described as plain data by hypothesis and made by `ostree`."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterable

MODES = ("bare", "bare-user", "bare-user-only", "archive")
BRANCHES = ("main", "dev", "os/x86_64/test")
MIRROR = ("org.example.Mirror", "mirrored")

# Directories that trees are put together from: which of them, and in which of its variants.
_PIECES = ("etc", "usr", "var")
_VARIANTS = 3

# The first commit's time; the others may lie before or after their parents. There are so few different times
# that dates often meet a commit's very own.
EPOCH = 1_600_000_000
HOURS = st.integers(0, 5)


@dataclasses.dataclass(frozen=True)
class Commit:
    """One commit: on which branch, from which pieces, how long after the first."""

    branch: str
    pieces: tuple[int, ...]
    hours: int
    orphan: bool


@dataclasses.dataclass(frozen=True)
class Description:
    """A repository to be made."""

    commits: tuple[Commit, ...]
    # Branches that are deleted, or set back to their tip's parent, at the end.
    deleted: frozenset[str]
    set_back: frozenset[str]
    # Numbers of commits that a ref of another kind leads to.
    remote_ref: int | None
    mirror_ref: int | None
    delta: int | None
    partial: bool


@dataclasses.dataclass
class Built:
    """A repository that was made, with what its maker knows of it."""

    path: Path
    # By checksum: the parent and the time of each commit made here.
    commits: dict[str, tuple[str | None, int]]


# Most commits, and rules, are those of one branch, so that its history is longer than what is to be kept.
BRANCHES_DRAWN = st.sampled_from([BRANCHES[0]] * 4 + list(BRANCHES[1:]))

_commits = st.builds(
    Commit,
    branch=BRANCHES_DRAWN,
    pieces=st.tuples(*(st.integers(-1, _VARIANTS - 1) for _ in _PIECES)),
    hours=HOURS,
    orphan=st.sampled_from([False] * 11 + [True]),
)
_some_branches = st.just(frozenset[str]()) | st.frozensets(st.sampled_from(BRANCHES), max_size=2)

descriptions = st.sampled_from([1, 2, 3, 4, 5, 5, 6, 6, 7]).flatmap(
    lambda count: st.builds(
        Description,
        commits=st.lists(_commits, min_size=count, max_size=count).map(tuple),
        deleted=_some_branches,
        set_back=_some_branches,
        # Often in the midst of a branch's history.
        remote_ref=st.none() | st.integers(0, count - 1) | st.integers(count // 2, count - 1),
        mirror_ref=st.none() | st.integers(0, count - 1),
        delta=st.none() | st.none() | st.integers(0, count - 1),
        partial=st.sampled_from([False, False, True]),
    )
)


def ostree(repo: Path, *arguments: str | Path) -> str:
    """Runs `ostree` on a repository and returns what it prints."""
    command = ["ostree", f"--repo={repo}", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr}")
    return done.stdout


class Workshop:
    """Makes repositories from pieces that are laid out once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._made = 0
        for number, piece in enumerate(_PIECES):
            for variant in range(_VARIANTS):
                root = directory / "pieces" / f"{piece}{variant}" / piece
                (root / "same").mkdir(parents=True)
                (root / "own").mkdir()
                (root / "same" / "file").write_text(piece)
                (root / "own" / "file").write_text(f"{piece} {variant}")
                # Content that several pieces share, and a link.
                (root / "own" / "shared").write_text(f"variant {variant}")
                (root / f"link{number}").symlink_to(f"target{variant}")
        self._donor = directory / "donor"
        ostree(self._donor, "init", "--mode=archive")
        ostree(self._donor, "commit", "-b", "given", f"--tree=dir={directory}/pieces")

    def build(self, description: Description, mode: str) -> Built:
        """Makes the repository; its place is free for as long as the caller wants it."""
        self._made += 1
        repo = self.directory / f"repo{self._made}"
        ostree(repo, "init", f"--mode={mode}")
        commits: dict[str, tuple[str | None, int]] = {}
        tips: dict[str, str] = {}
        made: list[str] = []
        for commit in description.commits:
            time = EPOCH + 3600 * commit.hours
            # Makes commits of the same tree differ.
            number = f"--add-metadata-string=number={len(made)}"
            checksum = ostree(repo, "commit", number, *self._commit_options(commit, tips, time)).strip()
            parent = None if commit.orphan else tips.get(commit.branch)
            commits[checksum] = (parent, time)
            tips[commit.branch] = checksum
            made.append(checksum)
        self._finish(repo, description, made, tips, commits)
        return Built(repo, commits)

    def _commit_options(self, commit: Commit, tips: dict[str, str], time: int) -> list[str]:
        options = ["--fsync=false", f"--branch={commit.branch}", f"--timestamp=@{time}", "--owner-uid=0"]
        if commit.orphan:
            options.append("--orphan")
            if commit.branch in tips:
                options += ["--parent=none"]
        for piece, variant in zip(_PIECES, commit.pieces):
            if variant >= 0:
                options.append(f"--tree=dir={self.directory}/pieces/{piece}{variant}")
        if not any(option.startswith("--tree") for option in options):
            options.append(f"--tree=dir={self.directory}/pieces/etc0/etc/same")
        return options

    def _finish(
        self,
        repo: Path,
        description: Description,
        made: list[str],
        tips: dict[str, str],
        commits: dict[str, tuple[str | None, int]],
    ) -> None:
        if description.remote_ref is not None:
            write_ref(repo, "remotes/origin/main", made[description.remote_ref])
        if description.mirror_ref is not None:
            write_ref(repo, "mirrors/" + "/".join(MIRROR), made[description.mirror_ref])
        if description.delta is not None:
            ostree(repo, "static-delta", "generate", "--empty", f"--to={made[description.delta]}")
        if description.partial:
            ostree(repo, "pull-local", "--commit-metadata-only", "--remote=donor", self._donor, "given")
        for branch, tip in tips.items():
            parent = commits[tip][0]
            if branch in description.deleted:
                (repo / "refs/heads" / branch).unlink()
            elif branch in description.set_back and parent is not None:
                write_ref(repo, f"heads/{branch}", parent)

    def copy(self, repo: Path) -> Path:
        """A copy to try something on."""
        self._made += 1
        target = self.directory / f"copy{self._made}"
        subprocess.run(["cp", "-a", repo, target], check=True)
        return target

    def discard(self, paths: Iterable[Path]) -> None:
        """Removes repositories that are no longer wanted."""
        for path in paths:
            shutil.rmtree(path)


def write_ref(repo: Path, name: str, commit: str) -> None:
    """Writes a ref's file, as `ostree refs --create` does, without the cost of a process."""
    path = repo / "refs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(commit + "\n")


def read_refs(repo: Path) -> dict[str, str]:
    """All refs by the name that `ostree` gives them, a mirrored one as `(COLLECTION, REF)`."""
    refs = {}
    for path in (repo / "refs").rglob("*"):
        if path.is_file():
            kind, *rest = path.relative_to(repo / "refs").parts
            if kind == "heads":
                name = "/".join(rest)
            else:
                group, short = rest[0], "/".join(rest[1:])
                name = f"{group}:{short}" if kind == "remotes" else f"({group}, {short})"
            refs[name] = path.read_text().strip()
    return refs


def objects(repo: Path) -> set[str]:
    """The names of all objects, `CHECKSUM.TYPE`."""
    kinds = {".filez": ".file", ".commit": ".commit", ".dirtree": ".dirtree", ".dirmeta": ".dirmeta"}
    found = set()
    for directory in (repo / "objects").iterdir():
        for entry in directory.iterdir():
            kind = kinds.get(entry.suffix, ".file" if entry.suffix == ".file" else None)
            if kind:
                found.add(f"{directory.name}{entry.stem}{kind}")
    return found


def deltas(repo: Path) -> set[str]:
    """The static deltas, by their directories."""
    return {str(path.relative_to(repo)) for path in (repo / "deltas").glob("*/*")}


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory, so that two listings are equal only if nothing was changed in between."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for path in (Path(directory), *(Path(directory, name) for name in [*files, *names])):
            status = path.lstat()
            link = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else None
            found[str(path.relative_to(root))] = (
                status.st_mode,
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_ctime_ns,
                link,
            )
    return found
