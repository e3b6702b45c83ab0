"""Real repositories of every mode, made by `ostree` from descriptions that hypothesis can draw.

A description is a list of steps, each of which is at most one run of `ostree` on what the steps before have
left. Steps name commits by their age and everything else by words of a tiny vocabulary, so that trees share
files and subtrees, branches are moved and deleted, and whatever is drawn makes sense.
"""

# ruff: noqa: D102 - what a step's only method does is said by its class

from __future__ import annotations

import dataclasses
import functools
import os
import stat
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal, Protocol, Union

from hypothesis import strategies as st

from .sysroots import output

MODES = ("bare", "bare-user", "bare-user-only", "archive")

BRANCHES = ("main", "os/next", "os/test")

# What others publish, and is pulled or mirrored here.
REMOTE = "origin"
COLLECTION = "org.example.Mirrored"

# Makes a description's commits the same whenever it is built.
_TIME = "2024-01-01 00:00:00 +0000"


@dataclasses.dataclass(frozen=True)
class File:
    """A regular file in a tree."""

    content: str
    executable: bool = False

    def write(self, path: Path) -> None:
        """Creates it at a path."""
        path.write_text(self.content, encoding="ascii")
        path.chmod(0o755 if self.executable else 0o644)


@dataclasses.dataclass(frozen=True)
class Link:
    """A symbolic link in a tree."""

    target: str

    def write(self, path: Path) -> None:
        """Creates it at a path."""
        path.symlink_to(self.target)


@dataclasses.dataclass(frozen=True)
class Directory:
    """A directory in a tree, or a whole tree."""

    entries: tuple[tuple[str, Node], ...] = ()
    private: bool = False

    def write(self, path: Path) -> None:
        """Creates it, and all that is in it, at a path."""
        path.mkdir()
        for name, node in self.entries:
            node.write(path / name)
        path.chmod(0o700 if self.private else 0o755)


Node = Union[File, Link, Directory]


class Step(Protocol):
    """One thing to be done to a repository, or nothing where it makes no sense."""

    def apply(self, repo: Repository) -> None: ...


@dataclasses.dataclass(frozen=True)
class Description:
    """How to make a repository. The first step is a commit."""

    steps: tuple[Step, ...]
    collection_id: bool = False


@dataclasses.dataclass(eq=False, repr=False)
class Repository:
    """A repository that was built.

    Attributes:
        path: where it is.
        commits: checksums of the commits that steps can name, the oldest first.
        parents: of every commit that was ever seen, its parent's checksum, or None.
        whole: commits that have all that they reach.
        upstream: where pulls come from.
    """

    path: Path
    commits: list[str] = dataclasses.field(default_factory=list)
    parents: dict[str, str | None] = dataclasses.field(default_factory=dict)
    whole: set[str] = dataclasses.field(default_factory=set)
    upstream: Repository | None = None
    _trees: dict[Directory, Path] = dataclasses.field(default_factory=dict)

    def ostree(self, *arguments: object) -> str:
        """Runs `ostree` on it; returns what it prints."""
        return output("ostree", f"--repo={self.path}", *arguments)

    def commit(self, age: int) -> str:
        """The checksum of the commit after which `age` others were made, round and round."""
        return self.commits[-1 - age % len(self.commits)]

    def head(self, branch: str) -> str | None:
        """The checksum that a branch holds."""
        return refs(self.path).get(f"heads/{branch}")

    def reached(self, commit: str) -> set[str]:
        """The names of the objects that a pulled commit's tree leads to, as far as directories are here."""
        assert self.upstream is not None, "nothing was pulled"
        return reached(self.upstream.path, commit, objects(self.path))

    def tree(self, tree: Directory) -> Path:
        """The tree, written to a directory."""
        if tree not in self._trees:
            below = self.path.with_name(f"{self.path.name}-trees")
            below.mkdir(exist_ok=True)
            self._trees[tree] = below / str(len(self._trees))
            tree.write(self._trees[tree])
        return self._trees[tree]


@dataclasses.dataclass(frozen=True)
class Commit:
    """Commits a tree to a branch, on top of what it holds or of another commit."""

    branch: str
    tree: Directory
    parent_age: int | None = None
    detached_metadata: bool = False

    def apply(self, repo: Repository) -> None:
        parent = repo.head(self.branch)
        if self.parent_age is not None and repo.commits:
            parent = repo.commit(self.parent_age)
        checksum = repo.ostree(
            "commit",
            f"--branch={self.branch}",
            f"--parent={parent or 'none'}",
            # No two commits of a repository are the same.
            f"--subject={len(repo.parents)}",
            f"--timestamp={_TIME}",
            *(["--add-detached-metadata-string=key=value"] if self.detached_metadata else []),
            f"--tree=dir={repo.tree(self.tree)}",
        ).strip()
        repo.commits.append(checksum)
        repo.parents[checksum] = parent
        repo.whole.add(checksum)


@dataclasses.dataclass(frozen=True)
class Reset:
    """Sets a branch to a commit of any branch."""

    branch: str
    age: int

    def apply(self, repo: Repository) -> None:
        if repo.head(self.branch) is None:
            repo.ostree("refs", f"--create={self.branch}", repo.commit(self.age))
        else:
            repo.ostree("reset", self.branch, repo.commit(self.age))


@dataclasses.dataclass(frozen=True)
class RemoteRef:
    """Sets a remote's ref."""

    branch: str
    age: int

    def apply(self, repo: Repository) -> None:
        repo.ostree("refs", "--force", f"--create={REMOTE}:{self.branch}", repo.commit(self.age))


@dataclasses.dataclass(frozen=True)
class CollectionRef:
    """Sets a ref of another collection, as mirrors have them."""

    branch: str
    age: int

    def apply(self, repo: Repository) -> None:
        name = f"{COLLECTION}:{self.branch}"
        repo.ostree("refs", "--collections", "--force", f"--create={name}", repo.commit(self.age))


@dataclasses.dataclass(frozen=True)
class Alias:
    """Makes another name for a branch: a symbolic link."""

    branch: str
    prefix: ClassVar[str] = "alias/"

    def apply(self, repo: Repository) -> None:
        name = f"{self.prefix}{self.branch}"
        if repo.head(self.branch) is not None and repo.head(name) is None:
            repo.ostree("refs", "--alias", f"--create={name}", self.branch)


@dataclasses.dataclass(frozen=True)
class Delete:
    """Deletes a branch or an alias, unless it has an alias itself."""

    number: int

    def apply(self, repo: Repository) -> None:
        heads = sorted(name.removeprefix("heads/") for name in refs(repo.path) if name.startswith("heads/"))
        name = heads[self.number % len(heads)] if heads else None
        if name is not None and f"{Alias.prefix}{name}" not in heads:
            repo.ostree("refs", "--delete", name)


@dataclasses.dataclass(frozen=True)
class Lose:
    """Removes a commit that no ref holds and leaves its tree, as a power cut in the midst of a prune does."""

    age: int

    def apply(self, repo: Repository) -> None:
        checksum = repo.commit(self.age)
        if checksum not in refs(repo.path).values() and len(repo.commits) > 1:
            object_path(repo.path, f"{checksum}.commit").unlink()
            repo.commits.remove(checksum)


@dataclasses.dataclass(frozen=True)
class Delta:
    """Makes a static delta to a commit, from another one or from nothing."""

    age: int
    from_age: int | None

    def apply(self, repo: Repository) -> None:
        target = repo.commit(self.age)
        source = None if self.from_age is None else repo.commit(self.from_age)
        if {target, source} - {None} <= repo.whole and target != source:
            origin = "--empty" if source is None else f"--from={source}"
            repo.ostree("static-delta", "generate", "--disable-bsdiff", origin, f"--to={target}")


@dataclasses.dataclass(frozen=True)
class Pull:
    """Pulls a commit, whole or a part of it, by its ref or by its checksum, which leaves no ref."""

    part: Literal["metadata", "subpath", "whole"]
    age: int
    by_ref: bool

    def apply(self, repo: Repository) -> None:
        upstream = repo.upstream
        assert upstream is not None, "the description pulls, so it needs an upstream"
        checksum = upstream.commits[-1] if self.by_ref else upstream.commit(self.age)
        what = BRANCHES[0] if self.by_ref else checksum
        if self.part == "subpath":
            repo.ostree("pull", f"--subpath=/{SUBPATH}", REMOTE, what)
        else:
            part = ["--commit-metadata-only"] if self.part == "metadata" else []
            repo.ostree("pull-local", *part, f"--remote={REMOTE}", upstream.path, what)
        if self.part == "whole":
            repo.whole.add(checksum)
        repo.parents.update(upstream.parents)
        if checksum not in repo.commits:
            repo.commits.append(checksum)


SUBPATH = "b"

_UPSTREAM = Description(
    tuple(
        Commit(
            BRANCHES[0],
            Directory(
                (
                    ("a", Directory((("a", File(version)), ("b", Link("a"))))),
                    (SUBPATH, Directory((("a", File("1")), ("c", File(version))))),
                    ("c", File("2", executable=True)),
                )
            ),
        )
        for version in "123"
    )
)


def build(description: Description, path: Path, mode: str, upstream: Repository | None = None) -> Repository:
    """Makes a repository at `path`, where nothing may be yet."""
    options = ["--collection-id=org.example.Own"] if description.collection_id else []
    repo = Repository(path, upstream=upstream)
    repo.ostree("init", f"--mode={mode}", *options)
    with (path / "config").open("a", encoding="utf-8") as config:
        # A disk's own pace is none of the tests' business.
        config.write("fsync=false\n")
        url = path if upstream is None else upstream.path
        config.write(f'[remote "{REMOTE}"]\nurl=file://{url}\ngpg-verify=false\n')
    for step in description.steps:
        step.apply(repo)
    return repo


def build_upstream(path: Path, mode: str) -> Repository:
    """Makes the repository that others pull from: a branch of three versions, much of it as they have it."""
    return build(_UPSTREAM, path, mode)


_names = st.sampled_from("abc")
_ages = st.integers(0, 9)
_branches = st.sampled_from(BRANCHES)
# Most commits belong to one history, so that it is longer than the depths that are asked for.
_branches_of_commits = st.sampled_from([BRANCHES[0]] * 4 + list(BRANCHES[1:]))
_parent_ages = st.sampled_from([None] * 9 + [0, 1, 2])


def _directories(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Directory]:
    entries = st.dictionaries(_names, nodes, max_size=3).map(lambda found: tuple(sorted(found.items())))
    return st.builds(Directory, entries, st.booleans())


def trees() -> st.SearchStrategy[Directory]:
    """Small trees, of which some parts are the same, and most are not."""
    files = st.builds(File, st.sampled_from("1234567"), st.booleans())
    links = st.builds(Link, _names)
    leaves = st.one_of(files, links)
    return _directories(st.one_of(leaves, _directories(st.one_of(leaves, _directories(leaves)))))


def descriptions() -> st.SearchStrategy[Description]:
    """Repositories with some commits, and what becomes of them; they need an upstream."""
    commits = st.builds(Commit, _branches_of_commits, trees(), _parent_ages, st.booleans())
    losses: list[st.SearchStrategy[Step]] = [
        st.builds(Reset, _branches, _ages),
        st.builds(Delete, st.integers(0, 5)),
        st.builds(Lose, _ages),
    ]
    others: list[st.SearchStrategy[Step]] = [
        st.builds(RemoteRef, _branches, _ages),
        st.builds(CollectionRef, _branches, _ages),
        st.builds(Alias, _branches),
        st.builds(Delta, _ages, st.none() | _ages),
        st.builds(Pull, st.sampled_from(("metadata", "subpath", "whole")), _ages, st.booleans()),
    ]
    return st.builds(
        lambda first, middle, last, collection_id: Description((*first, *middle, *last), collection_id),
        st.lists(commits, min_size=3, max_size=6),
        st.lists(st.one_of(commits, *losses, *others), max_size=7),
        st.lists(st.one_of(losses), min_size=1, max_size=4),
        st.booleans(),
    )


def object_path(repo: Path, name: str) -> Path:
    """Where a commit, dirtree or dirmeta named `CHECKSUM.TYPE` is kept."""
    return repo / "objects" / name[:2] / name[2:]


def sizes(repo: Path) -> dict[str, int]:
    """All objects' names, `CHECKSUM.TYPE`, and sizes in bytes; a compressed file's type is `file`, too."""
    found = {}
    for path in repo.glob("objects/??/*.*"):
        if path.suffix != ".commitmeta":
            name = path.parent.name + path.name
            found[name.replace(".filez", ".file")] = path.lstat().st_size
    return found


def objects(repo: Path) -> set[str]:
    """The names of all objects, `CHECKSUM.TYPE`."""
    return set(sizes(repo))


@functools.lru_cache
def nodes(repo: Path, commit: str) -> dict[PurePosixPath, list[str]]:
    """All nodes of a commit's tree, directories first: by their paths, the names of their objects."""
    found = {}
    for line in output("ostree", f"--repo={repo}", "ls", "-R", "-C", commit).splitlines():
        kind, _, _, _, checksum, *rest = line.partition(" -> ")[0].split()
        if kind.startswith("d"):
            found[PurePosixPath(rest[1])] = [f"{checksum}.dirtree", f"{rest[0]}.dirmeta"]
        else:
            found[PurePosixPath(rest[0])] = [f"{checksum}.file"]
    return found


def reached(repo: Path, commit: str, present: set[str]) -> set[str]:
    """The names of the objects that a commit's tree leads to, if only those `present` can be read."""
    closed: set[PurePosixPath] = set()
    found = set()
    for path, names in nodes(repo, commit).items():
        if closed.isdisjoint(path.parents):
            found.update(names)
            if names[0].endswith(".dirtree") and names[0] not in present:
                closed.add(path)
    return found


def commits(repo: Path) -> set[str]:
    """The checksums of the commits that are there."""
    return {name.split(".")[0] for name in objects(repo) if name.endswith(".commit")}


def refs(repo: Path) -> dict[str, str]:
    """All refs, by their path below `refs`, and the commits they hold."""
    below = repo / "refs"
    return {
        str(path.relative_to(below)): path.read_text(encoding="ascii").strip()
        for path in below.rglob("*")
        if path.is_file()
    }


def partial_commits(repo: Path) -> set[str]:
    """The checksums of the commits that are marked as partial."""
    return {path.stem for path in repo.glob("state/*.commitpartial")}


def appendages(repo: Path) -> set[str]:
    """The files that go with a commit: detached metadata, marks of partial commits, static deltas."""
    patterns = ("objects/??/*.commitmeta", "state/*", "deltas/**/*")
    return {str(path.relative_to(repo)) for pattern in patterns for path in repo.glob(pattern)}


def listing(path: Path) -> dict[str, tuple[int, int, int, int, str | None]]:
    """All that is there and below, by relative path: type, size, time of change, inode, a link's target."""
    found = {}
    for each in (path, *path.rglob("*")):
        status = each.lstat()
        kind = stat.S_IFMT(status.st_mode)
        target = os.readlink(each) if kind == stat.S_IFLNK else None  # noqa: PTH115 - as it is, not resolved
        found[str(each.relative_to(path))] = (
            kind,
            status.st_size,
            status.st_mtime_ns,
            status.st_ino,
            target,
        )
    return found


def copy(repo: Path, to: Path) -> Path:
    """Copies a repository to `to`, with all attributes."""
    output("cp", "-a", repo, to)
    return to


def fsck(repo: Path) -> None:
    """Fails unless `ostree fsck` finds the repository to be sound."""
    output("ostree", f"--repo={repo}", "fsck", "--quiet")
