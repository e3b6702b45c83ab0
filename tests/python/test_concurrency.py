"""Others at work while we prune: nothing that they need is lost, and nobody makes another one fail."""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import shutil
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable

import pytest

import ostree_sweep
from support import repositories
from support.crash import DELAY, DICE, KILLABLE, LONG, SLOWLY, Expected, contents, linked_copy
from support.sysroots import BRANCH, COMMAND, Sysroot, output, started, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

PRUNE = (COMMAND, "prune", "--refs-only", "--depth=0")
EX_TEMPFAIL = 75

# For how long others work beside us until all is checked, and how often.
ROUND_S = 5.0
ROUNDS = 60 if LONG else 2
MEETINGS = 30 if LONG else 2

# What libostree's own commands do to one another, with nobody pruning: a staging directory or a ref that one
# has just seen is gone when it opens it.
LIBOSTREES_OWN = re.compile(r"(opendir\(staging-|Listing refs: openat\().*: No such file or directory")

# Trees that are committed over and over.
_TREES = 6


@pytest.fixture
def trees(tmp_path: Path) -> list[Path]:
    """Trees, two thirds of which are the same files."""
    trees = [tmp_path / "trees" / str(number) for number in range(_TREES)]
    for number, tree in enumerate(trees):
        for directory in range(9):
            (tree / str(directory)).mkdir(parents=True)
            for file in range(9):
                own = number if directory % 3 == number % 3 else ""
                (tree / str(directory) / str(file)).write_text(f"{directory} {file} {own}", encoding="ascii")
    return trees


@pytest.fixture
def repo(tmp_path: Path, trees: list[Path]) -> Path:
    """A repository with a branch of its own, `main`, that nobody touches."""
    repo = tmp_path / "repo"
    ostree(repo, "init", "--mode=bare")
    ostree(repo, "config", "set", "core.fsync", "false")
    ostree(repo, "commit", "--branch=main", trees[0])
    return repo


@pytest.fixture
def upstream(tmp_path: Path, trees: list[Path]) -> Path:
    """A repository to pull from: a branch for each tree."""
    repo = tmp_path / "upstream"
    ostree(repo, "init", "--mode=bare")
    for number, tree in enumerate(trees):
        ostree(repo, "commit", f"--branch=given/{number}", tree)
    return repo


@pytest.fixture
def garbage(repo: Path, upstream: Path) -> str:
    """The checksum of a commit of the second tree, that is in both repositories, here without a ref."""
    checksum = ostree(upstream, "rev-parse", "given/1")
    ostree(repo, "pull-local", upstream, checksum)
    return checksum


def create_ref(repo: Path, garbage: str, _tree: Path, _upstream: Path) -> None:
    ostree(repo, "refs", "--create=back", garbage)


def reset(repo: Path, garbage: str, tree: Path, _upstream: Path) -> None:
    ostree(repo, "commit", "--branch=back", tree)
    ostree(repo, "reset", "back", garbage)


def commit(repo: Path, _garbage: str, tree: Path, _upstream: Path) -> None:
    ostree(repo, "commit", "--branch=back", tree)


def commit_without_a_ref(repo: Path, _garbage: str, tree: Path, _upstream: Path) -> None:
    ostree(repo, "commit", "--orphan", tree)


def pull(repo: Path, _garbage: str, _tree: Path, upstream: Path) -> None:
    ostree(repo, "pull-local", upstream, "given/1")


def pull_without_a_ref(repo: Path, garbage: str, _tree: Path, upstream: Path) -> None:
    ostree(repo, "pull-local", upstream, garbage)


Revival = Callable[["Path", str, "Path", "Path"], None]

REVIVALS: list[Revival] = [create_ref, reset, commit, commit_without_a_ref, pull]


@pytest.mark.parametrize("revive", REVIVALS)
@pytest.mark.parametrize("blind", [False, True], ids=["looking", "blind"])
def test_what_is_revived_after_the_crawl_stays(
    repo: Path, garbage: str, trees: list[Path], upstream: Path, revive: Revival, blind: bool
) -> None:
    """Where we don't look what changed since the crawl, it is lost: so the test would notice."""
    before = repositories.objects(repo)
    blindly = ["env", "OSTREE_SWEEP_BLIND=1"] if blind else []
    with shared_lock(repo):
        prune = started(*blindly, KILLABLE, "prune", repo)
        assert prune.stdout is not None
        assert prune.stdout.readline() == "waiting\n"
        revive(repo, garbage, trees[1], upstream)
    _, errors = prune.communicate(timeout=60)
    assert prune.returncode == 0, errors
    if blind:
        with pytest.raises(AssertionError, match="fsck"):
            check(repo)
    else:
        check(repo)
        assert {name for name in before - repositories.objects(repo) if not name.endswith(".commit")} == set()


# Once the commits are gone, nobody can lead a ref to one.
@pytest.mark.parametrize(
    ("kind", "revive"),
    [
        (kind, revive)
        for kind in ("commit", "dirtree", "file")
        for revive in (*REVIVALS, pull_without_a_ref)
        if kind == "commit" or revive not in (create_ref, reset)
    ],
)
def test_what_is_revived_during_the_sweep_stays(
    repo: Path, garbage: str, trees: list[Path], upstream: Path, revive: Revival, kind: str
) -> None:
    """Of a commit that is gone, what is left is revived by a commit of the same tree."""
    for tree in trees[2:]:
        ostree(repo, "commit", "--branch=dead", tree)
    ostree(repo, "refs", "--delete", "dead")
    before = number_of(kind, repo)
    with started(*SLOWLY, KILLABLE, "prune", repo) as prune:
        wait_until(lambda: number_of(kind, repo) < before)
        with shared_lock(repo):
            assert prune.poll() is None
            if f"{garbage}.commit" in repositories.objects(repo) or revive not in (create_ref, reset):
                revive(repo, garbage, trees[1], upstream)
        assert prune.wait(timeout=60) == 0
    check(repo)


def others(repo: Path, trees: list[Path], upstream: Path) -> list[Callable[[], None]]:
    """What others do with a repository over and over, each with refs of its own."""
    commits: list[str] = []

    def commit_and_check_out() -> None:
        commits.append(ostree(repo, "commit", "--branch=work", DICE.choice(trees)))
        check_out(repo, "work")

    def commit_twice_and_drop() -> None:
        commits.append(ostree(repo, "commit", "--branch=twice", DICE.choice(trees)))
        commits.append(ostree(repo, "commit", "--branch=twice", DICE.choice(trees)))
        ostree(repo, "refs", "--delete", "twice")

    def go_back() -> None:
        # Without the lock, the commit could go between the look and the ref: that is so with any prune.
        with shared_lock(repo):
            present = repositories.commits(repo)
            there = [commit for commit in commits if commit in present]
            if not there:
                return
            ostree(repo, "refs", "--force", "--create=back", DICE.choice(there))
            ostree(repo, "reset", "back", DICE.choice(there))
        check_out(repo, "back")

    def pull_and_drop() -> None:
        branch = f"given/{DICE.randrange(_TREES)}"
        ostree(repo, "pull-local", upstream, branch)
        check_out(repo, branch)
        ostree(repo, "refs", "--delete", branch)

    return [commit_and_check_out, commit_twice_and_drop, go_back, pull_and_drop]


def test_nothing_is_lost_beside_others(repo: Path, trees: list[Path], upstream: Path) -> None:
    """Who goes on working while we prune again and again finds all that his refs lead to."""
    pruned = 0

    def prune() -> None:
        nonlocal pruned
        pruned += succeeds_or_is_busy(started(*PRUNE, f"--repo={repo}"))

    for _ in range(ROUNDS):
        with others_at(*others(repo, trees, upstream), prune):
            time.sleep(ROUND_S)
        check(repo)
    assert pruned >= ROUNDS
    assert ostree(repo, "ls", "-R", "main")

    output(*PRUNE, f"--repo={repo}")
    left = repositories.objects(repo)
    ostree(repo, "prune", "--refs-only", "--depth=0")
    assert repositories.objects(repo) == left


def test_a_prune_that_overlooks_others_is_noticed(repo: Path, trees: list[Path], upstream: Path) -> None:
    """What the test above does is enough to find out a prune that does not look what changed."""

    def prune() -> None:
        output("env", "OSTREE_SWEEP_BLIND=1", KILLABLE, "prune", repo)

    def work() -> None:
        for _ in range(ROUNDS * 10):
            with others_at(*others(repo, trees, upstream), prune):
                time.sleep(ROUND_S / 2)
            check(repo)

    with pytest.raises(AssertionError, match=r"No such (metadata )?object|Couldn't find|missing|not found"):
        work()


@pytest.mark.needs_root
def test_nothing_is_lost_beside_an_updater(tmp_path: Path) -> None:
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(0)
    versions = iter(range(1, 1_000_000))
    cleaned = 0

    def update() -> None:
        # Every other version's files are those of the one before the last, which is garbage by then.
        sysroot.commit(next(versions) % 3)
        sysroot.admin("deploy", "--os=os", *DICE.choice([[], ["--no-prune"]]), BRANCH)

    def check_out_deployed() -> None:
        check_out(sysroot.repo, "main")

    def clean_up() -> None:
        nonlocal cleaned
        cleaned += succeeds_or_is_busy(started(COMMAND, "cleanup", f"--sysroot={sysroot.path}"))

    sysroot.commit(7, "main")
    for _ in range(ROUNDS):
        with others_at(update, check_out_deployed, clean_up):
            time.sleep(ROUND_S)
        check(sysroot.repo)
    assert cleaned >= ROUNDS
    assert next(versions) > ROUNDS
    sysroot.remove()


def test_a_longer_slice_makes_fewer_and_longer_holds(repo: Path, trees: list[Path], tmp_path: Path) -> None:
    for tree in trees[1:]:
        dead = ostree(repo, "commit", "--branch=dead", tree)
        ostree(repo, "static-delta", "generate", "--empty", f"--to={dead}")
    ostree(repo, "refs", "--delete", "dead")
    holds, holds_for_deltas, mean_s = {}, {}, {}
    for slice_s in (0.01, 600):
        trial, trace = linked_copy(repo, tmp_path / f"repo-{slice_s}"), tmp_path / "trace"
        strace = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=fcntl,unlinkat", *DELAY]
        report = output(*strace, *PRUNE, "--jobs=1", "--json", f"--lock-slice={slice_s}", f"--repo={trial}")
        before, _, after = trace.read_text(encoding="utf-8").partition('"superblock"')
        holds_for_deltas[slice_s] = after.count("F_OFD_SETLK, {l_type=F_WRLCK")
        holds[slice_s] = before.count("F_OFD_SETLK, {l_type=F_WRLCK") + holds_for_deltas[slice_s]
        mean_s[slice_s] = json.loads(report)["exclusive_lock_total_s"] / holds[slice_s]
        check(trial)
    # In between there is something to do without a lock.
    assert holds[600] < 10 < holds[0.01]
    assert holds_for_deltas[600] == 0
    assert holds_for_deltas[0.01] > 0
    assert mean_s[600] > mean_s[0.01]


@pytest.mark.parametrize("slice_s", [0, -0.1, math.nan, math.inf])
def test_a_slice_lasts(repo: Path, slice_s: float) -> None:
    with pytest.raises(ValueError, match="lock_slice_s"):
        ostree_sweep.prune(repo, lock_slice_s=slice_s)
    assert ostree_sweep.prune(repo, lock_slice_s=1e300).objects_pruned == 0


@pytest.mark.parametrize("peer", ["ostree-sweep", "ostree", "flatpak"])
def test_two_prunes_at_once(tmp_path: Path, peer: str) -> None:
    original = tmp_path / "original"
    ostree(original, "init", "--mode=archive")
    for branch in ("live", "dead"):
        tree = tmp_path / branch
        for number in range(2000):
            path = tree / str(number % 100) / str(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{branch} {number}", encoding="ascii")
        ostree(original, "commit", "--fsync=false", f"--branch={branch}", tree)
    ostree(original, "refs", "--delete", "dead")
    expected = Expected.of(original)
    for _ in range(MEETINGS):
        repo = linked_copy(original, tmp_path / "repo")
        ours, theirs = started(*PRUNE, f"--repo={repo}"), started(*prune_of(peer, repo))
        done = [succeeds_or_is_busy(ours), succeeds_or_is_busy(theirs)]
        assert any(done)
        check(repo)
        output(*PRUNE, f"--repo={repo}")
        # flatpak adds things of its own.
        assert contents(repo) & expected.before == expected.after
        shutil.rmtree(repo)


def prune_of(peer: str, repo: Path) -> list[object]:
    if peer == "flatpak":
        return ["flatpak", "build-update-repo", "--prune", "--no-update-summary", repo]
    return [
        COMMAND if peer == "ostree-sweep" else peer,
        "prune",
        "--refs-only",
        "--depth=0",
        f"--repo={repo}",
    ]


def succeeds_or_is_busy(child: subprocess.Popen[str]) -> bool:
    """Waits for a command that succeeds, or says that another one has the lock; says whether it succeeded."""
    _, errors = child.communicate(timeout=120)
    busy = child.returncode == EX_TEMPFAIL or "Locking repo" in errors
    assert child.returncode == 0 or busy, f"{child.args!r}: {child.returncode}\n{errors}"
    return child.returncode == 0


def check(repo: Path) -> None:
    """Fails unless a repository is sound, and has all that its refs lead to."""
    repositories.fsck(repo)
    for commit in set(repositories.refs(repo).values()):
        ostree(repo, "ls", "-R", commit)


def check_out(repo: Path, ref: str) -> None:
    """Checks a ref out, as one does to use what is in it."""
    to = repo.with_name(f"{repo.name}-{threading.get_ident()}")
    ostree(repo, "checkout", ref, to)
    shutil.rmtree(to)


def number_of(kind: str, repo: Path) -> int:
    return sum(1 for _ in repo.glob(f"objects/??/*.{kind}"))


def ostree(repo: Path, *arguments: object) -> str:
    return output("ostree", f"--repo={repo}", *arguments).strip()


@contextmanager
def shared_lock(repo: Path) -> Iterator[None]:
    """Holds a repository's lock as a writer does."""
    with (repo / ".lock").open("a+b") as lock:
        whole = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(lock, fcntl.F_OFD_SETLKW, whole)
        yield


@contextmanager
def others_at(*actions: Callable[[], None]) -> Iterator[None]:
    """Repeats each action in a thread of its own for as long as this lasts; then raises what one raised."""
    over = threading.Event()

    def repeat(action: Callable[[], None]) -> None:
        while not over.is_set():
            attempt(action)

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
        except AssertionError as error:
            if COMMAND.name in str(error) or not LIBOSTREES_OWN.search(str(error)):
                raise

    with ThreadPoolExecutor(len(actions)) as threads:
        working = [threads.submit(repeat, action) for action in actions]
        try:
            yield
        finally:
            over.set()
        for each in working:
            each.result()
