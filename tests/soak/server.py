"""A server: one repository that many publish to and many pull from, and what has to be true of it at rest."""

from __future__ import annotations

import functools
import random
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from disturbances import run
from support import repositories
from support.crash import linked_copy
from support.sysroots import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diary import Diary

DEPTH = 2
TREES = 24

# libostree's own commands fail beside one another, with nobody pruning: one lists a staging directory, a ref
# or a temporary file, and another one removes it before the first opens it.
_LIBOSTREES_OWN = re.compile(
    r"(opendir\(staging-|Listing refs: openat\(|openat\(tmp).*: No such file or directory"
)
_TRIES = 5


class Server:
    """A server.

    Attributes:
        repo: its repository.
        diary: what happened.
        control: whether `ostree prune` takes our place.
        depth: how many parents of each ref's commit are promised to be kept.
        promises: for each ref the commits that have to be whole, its own first, then its parents.
        named_later: commits that got their ref after they were there.
        deltas: the static deltas that were made, and the commits that they lead to.
        trees: trees to commit, which share files and directories.
        url: where clients pull from.
    """

    def __init__(self, place: Path, seed: int, diary: Diary, *, control: bool = False) -> None:
        """Makes a server below `place`.

        Args:
            place: a directory that is the server's own.
            seed: decides what is done.
            diary: takes down what happens.
            control: let `ostree prune` take our place.
        """
        self.place = place
        self.diary = diary
        self.control = control
        self.seed = seed
        self.depth = DEPTH
        self.promises: dict[str, list[str]] = {}
        self.named_later: set[str] = set()
        self.deltas: dict[str, str] = {}
        self.url = ""
        self.repo = place / "repo"
        self.trees = [place / "trees" / str(number) for number in range(TREES)]
        for number, tree in enumerate(self.trees):
            for directory in range(8):
                (tree / str(directory)).mkdir(parents=True)
                for file in range(8):
                    own = number % (directory + 1)
                    (tree / str(directory) / str(file)).write_text(
                        f"{directory} {file} {own}", encoding="ascii"
                    )
        self._create()

    def _create(self) -> None:
        init(self.repo, "archive")
        # One that nobody touches.
        self.promise("main", self.ostree("commit", "--no-bindings", "--branch=main", self.trees[0]))

    def start_over(self) -> None:
        """Begins with a new repository."""
        self.promises.clear()
        self.deltas.clear()
        shutil.rmtree(self.repo)
        for client in self.place.glob("client-*"):
            shutil.rmtree(client)
        self._create()

    def dice(self, *names: object) -> random.Random:
        """Dice of one's own, that fall alike with the same seed."""
        return random.Random(" ".join(map(str, (self.seed, *names))))

    def ostree(self, *arguments: object) -> str:
        """Runs `ostree` on the repository; returns what it prints."""
        return ostree(self.repo, *arguments)

    def promise(self, ref: str, commit: str) -> None:
        """Notes a new commit on a ref, whose history grew by it."""
        self.promises[ref] = [commit, *self.promises.get(ref, [])[: self.depth]]

    def limit(self, depth: int) -> None:
        """Promises less, or more from now on."""
        self.depth = depth
        for ref, commits in self.promises.items():
            self.promises[ref] = commits[: depth + 1]

    def rest(self) -> None:
        """Checks what has to be true while nobody is at work."""
        diary = self.diary
        held = {
            name.removeprefix("heads/"): commit
            for name, commit in repositories.refs(self.repo).items()
            if name.startswith("heads/")
        }
        wanted = {ref: commits[0] for ref, commits in self.promises.items()}
        for ref in sorted(set(wanted) | set(held)):
            if wanted.get(ref) != held.get(ref):
                diary.lost("ref", f"{ref}: {held.get(ref)} instead of {wanted.get(ref)}")
        present = repositories.objects(self.repo)
        for ref, commits in self.promises.items():
            for commit in commits:
                if missing := self._missing(commit, present):
                    kind = "head" if commit == commits[0] else "history"
                    later = ", named after its commit" if commit in self.named_later else ""
                    diary.lost(f"{kind}{later}", f"{ref}: {missing}")
        fsck = run("ostree", f"--repo={self.repo}", "fsck", "--quiet")
        if fsck.returncode != 0:
            diary.lost("fsck", fsck.stderr)
        self._check_deltas()
        if not self.control:
            for depth in (0, -1):
                self._compare(depth)

    def _missing(self, commit: str, present: set[str]) -> list[str]:
        """Some of the objects that are missing of a commit."""
        if f"{commit}.commit" not in present:
            return [f"{commit}.commit"]
        try:
            names = set[str]().union(*_nodes(self.repo, commit))
        except AssertionError as error:
            return [str(error)]
        return sorted(names - present)[:5]

    def _check_deltas(self) -> None:
        """Deltas are whole or gone, and only gone if their commit is."""
        names = self.ostree("static-delta", "list").split("\n")
        found = {name for name in names if re.fullmatch(r"[0-9a-f]{64}(-[0-9a-f]{64})?", name)}
        for name in found:
            shown = run("ostree", f"--repo={self.repo}", "static-delta", "show", name)
            if shown.returncode != 0:
                self.diary.lost("delta", f"{name}: {shown.stderr}")
        promised = {commit for commits in self.promises.values() for commit in commits}
        for name, commit in self.deltas.items():
            if commit in promised and name not in found:
                self.diary.lost("delta", f"{name} is gone")

    def _compare(self, depth: int) -> None:
        """Ours leaves the same objects of a copy as `ostree prune`."""
        left = []
        for command in ("ostree", COMMAND):
            copy = linked_copy(self.repo, self.place / "copy")
            done = run(command, "prune", f"--repo={copy}", "--refs-only", f"--depth={depth}")
            if done.returncode != 0:
                self.diary.differs("exit status", f"{done}")
            left.append(_without_orphans(repositories.objects(copy)))
            shutil.rmtree(copy)
        by_ostree, by_us = left
        if by_ostree - by_us:
            self.diary.lost("objects", f"depth {depth}: {sorted(by_ostree - by_us)[:5]}")
        if by_us - by_ostree:
            self.diary.differs("objects", f"depth {depth}: {sorted(by_us - by_ostree)[:5]}")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serves the repository over HTTP."""
        handler = functools.partial(_Handler, directory=str(self.repo))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
            self.url = f"http://127.0.0.1:{http.server_port}"
            thread = threading.Thread(target=http.serve_forever)
            thread.start()
            try:
                yield
            finally:
                http.shutdown()
                thread.join()


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base has it
        """Says nothing."""


@functools.lru_cache(maxsize=4096)
def _nodes(repo: Path, commit: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names) for names in repositories.nodes(repo, commit).values())


def _without_orphans(objects: set[str]) -> set[str]:
    """Objects without the metadata that flatpak keeps beside a commit, where that commit is gone.

    `ostree prune` leaves it behind when it deletes the commit, for good; ours deletes it.
    """
    return {
        name
        for name in objects
        if not name.endswith(".commitmeta2") or name.replace(".commitmeta2", ".commit") in objects
    }


def init(repo: Path, mode: str) -> None:
    """Makes a repository."""
    ostree(repo, "init", f"--mode={mode}")
    ostree(repo, "config", "set", "core.fsync", "false")


def ostree(repo: Path, *arguments: object) -> str:
    """Runs `ostree`, again if another `ostree` was in its way; returns what it prints."""
    for _ in range(_TRIES):
        done = run("ostree", f"--repo={repo}", *arguments)
        if done.returncode == 0:
            return done.stdout.strip()
        if not _LIBOSTREES_OWN.search(done.stderr):
            break
    raise RefusedError(f"{arguments}: {done.stderr.strip()}")


class RefusedError(AssertionError):
    """`ostree` failed."""
