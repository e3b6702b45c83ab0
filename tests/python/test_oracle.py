"""On random repositories, what is pruned is exactly what `ostree prune` prunes.

In three cases we differ, each of which has a test of its own:

* Where a history is reached from several refs and its depth is limited, libostree goes by the order of refs:
  it stops at a commit it has seen, even if that one now comes along with more generations to keep. Here such
  commits stay, and the oracle is an `ostree prune` that is told by a ref of every single commit to keep.
* Where a partial commit lacks a directory, libostree deletes what it has beside it.
* We remove the marks of partial commits that are not there, which libostree leaves.
"""

from __future__ import annotations

import dataclasses
import math
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import ostree_sweep
from ostree_sweep import PrunedItem
from ostree_sweep.core import format_size
from support.examples import examples
from support.repositories import (
    BRANCHES,
    MODES,
    Commit,
    Delete,
    Description,
    Directory,
    File,
    Lose,
    Pull,
    Repository,
    Reset,
    appendages,
    build,
    commits,
    copy,
    descriptions,
    fsck,
    listing,
    objects,
    partial_commits,
    refs,
    sizes,
)
from support.sysroots import COMMAND, output


@dataclasses.dataclass(frozen=True)
class Options:
    """What to keep."""

    refs_only: bool
    depth: int

    @property
    def arguments(self) -> list[str]:
        """As both commands understand them."""
        return [*(["--refs-only"] if self.refs_only else []), f"--depth={self.depth}"]


OPTIONS = st.builds(Options, st.sampled_from((True, True, True, False)), st.sampled_from((-1, 0, 1, 1, 2)))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a prune does to a repository.

    Attributes:
        deleted: the names of the objects that are deleted.
        appendages: what is left of the files that go with commits.
    """

    deleted: set[str]
    appendages: set[str]


@pytest.mark.parametrize("mode", MODES)
@examples(2)
@given(description=descriptions(), options=OPTIONS, by_command=st.sampled_from([False] * 9 + [True]))
def test_a_prune_deletes_what_ostree_deletes(
    mode: str,
    upstreams: dict[str, Repository],
    description: Description,
    options: Options,
    by_command: bool,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        repo = build(description, Path(place, "repo"), mode, upstreams[mode])
        assert_pruned_alike(repo, options, by_command=by_command)


def assert_pruned_alike(repo: Repository, options: Options, *, by_command: bool) -> None:
    """Prunes a repository and copies of it, by `ostree` and by us, and compares."""
    expected = oracle(repo, options)
    event(f"objects to delete: {bool(expected.deleted)}")
    path, before = repo.path, sizes(repo.path)
    announced = expected.deleted, result_lines(before, expected.deleted, dry_run=True)
    done = expected.deleted, result_lines(before, expected.deleted, dry_run=False)
    parallel = copy(path, path.with_name("parallel"))

    untouched = listing(path)
    assert pruned(path, options, dry_run=True) == announced
    if by_command:
        assert pruned_by_command(path, options, "--no-prune") == announced
    assert listing(path) == untouched

    assert pruned(path, options, jobs=1) == done
    if by_command:
        assert pruned_by_command(parallel, options, "--jobs=8") == done
    else:
        assert pruned(parallel, options, jobs=8) == done
    for each in (path, parallel):
        assert objects(each) == before.keys() - expected.deleted
        assert appendages(each) == expected.appendages
        fsck(each)
    assert pruned(path, options)[0] == set()


def oracle(repo: Repository, options: Options) -> Outcome:
    """What has to be deleted: what `ostree prune` deletes, or less where it deletes what is to be kept."""
    kept = commits_to_keep(repo, options)
    reference = copy(repo.path, repo.path.with_name("reference"))
    outcome = pruned_by_ostree(reference, *options.arguments)
    if commits(reference) != kept:
        event("libostree deletes commits that are to be kept")
        assert options.depth >= 1
        assert commits(reference) < kept
        reference = copy(repo.path, repo.path.with_name("exact-reference"))
        for checksum in kept:
            output("ostree", f"--repo={reference}", "refs", f"--create=kept/{checksum}", checksum)
        exact = pruned_by_ostree(reference, "--refs-only", "--depth=0")
        assert exact.deleted < outcome.deleted
        outcome = exact
    # Where a partial commit lacks a directory, libostree overlooks what it has beside it.
    reachable = {name for checksum in kept & partial_commits(repo.path) for name in repo.reached(checksum)}
    if reachable & outcome.deleted:
        event("libostree deletes what a partial commit has")
    # A mark may be of a commit that was lost, or never arrived.
    stale = {
        f"state/{checksum}.commitpartial" for checksum in partial_commits(reference) - commits(reference)
    }
    return Outcome(outcome.deleted - reachable, outcome.appendages - stale)


def commits_to_keep(repo: Repository, options: Options) -> set[str]:
    """The commits that refs, or all commits there are, keep with so many generations of parents."""
    present = commits(repo.path)
    starts = [*refs(repo.path).values(), *([] if options.refs_only else present)]
    generations = math.inf if options.depth == -1 else options.depth
    pending = [(checksum, generations) for checksum in starts]
    found: dict[str, float] = {}
    while pending:
        checksum, generations = pending.pop()
        if checksum in present and found.get(checksum, -1) < generations:
            found[checksum] = generations
            parent = repo.parents[checksum]
            if parent is not None and generations > 0:
                pending.append((parent, generations - 1))
    return set(found)


def result_lines(before: dict[str, int], deleted: set[str], *, dry_run: bool) -> str:
    """What the command prints."""
    size = format_size(sum(before[name] for name in deleted))
    if not deleted:
        result = "No unreachable objects"
    elif dry_run:
        result = f"Would delete: {len(deleted)} objects, freeing {size}"
    else:
        result = f"Deleted {len(deleted)} objects, {size} freed"
    return f"Total objects: {len(before)}\n{result}\n"


def pruned_by_ostree(path: Path, *arguments: str) -> Outcome:
    """Prunes by `ostree`, which has to print what we take for its lines."""
    before = sizes(path)
    printed = output("ostree", f"--repo={path}", "prune", *arguments)
    deleted = before.keys() - objects(path)
    assert printed == result_lines(before, deleted, dry_run=False)
    return Outcome(deleted, appendages(path))


def pruned(
    path: Path, options: Options, *, dry_run: bool = False, jobs: int | None = None
) -> tuple[set[str], str]:
    """Prunes by the package's call; returns the names it tells, and what the command would print."""
    before = sizes(path)
    names: list[str] = []

    def note(item: PrunedItem) -> None:
        # Deltas are told, too, by their paths, but not counted.
        if "/" not in item.name:
            names.append(item.name)

    report = ostree_sweep.prune(
        path,
        refs_only=options.refs_only,
        depth=options.depth,
        dry_run=dry_run,
        jobs=jobs,
        items=note,
    )
    deleted = set(names)
    assert len(names) == len(deleted) == report.objects_pruned
    assert len(before) == report.objects_total
    assert sum(before[name] for name in names) == report.bytes_freed
    return deleted, result_lines(before, deleted, dry_run=dry_run)


def pruned_by_command(path: Path, options: Options, *arguments: str) -> tuple[set[str], str]:
    """Prunes by the command; returns the names it tells, and what it prints."""
    done = subprocess.run(
        [COMMAND, "prune", "--verbose", f"--repo={path}", *options.arguments, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    # After two spaces there is the reason; the details that follow have single ones.
    lines = (line.split("  ", 1) for line in done.stderr.splitlines())
    names = {found[0] for found in lines if len(found) == 2 and not found[0].startswith("delta")}
    return names, done.stdout


def pruned_commits(before: Repository, after: Path) -> set[str]:
    """The commits that are gone."""
    return commits(before.path) - commits(after)


def test_a_history_that_several_refs_reach_is_kept_as_deep_as_each_asks(tmp_path: Path) -> None:
    """A branch keeps its head and one parent, and so does another whose head is that parent.

    With libostree the second one's parent stays only if it comes to the second branch first.
    """
    gone_by_ostree = []
    for newer, older in (BRANCHES[:2], BRANCHES[1::-1]):
        history = [Commit(newer, Directory((("a", File(content)),))) for content in "1234"]
        repo = build(Description((*history, Reset(older, 1))), tmp_path / newer.replace("/", "-"), "archive")
        theirs = copy(repo.path, repo.path.with_name(f"{repo.path.name}-theirs"))
        ours = copy(repo.path, repo.path.with_name(f"{repo.path.name}-ours"))
        options = Options(refs_only=True, depth=1)

        pruned_by_ostree(theirs, *options.arguments)
        gone_by_ostree.append(pruned_commits(repo, theirs))
        pruned(ours, options)
        assert pruned_commits(repo, ours) == set(repo.commits[:1])
        fsck(ours)
    assert sorted(map(len, gone_by_ostree)) == [1, 2]


def test_what_a_partial_commit_has_stays(tmp_path: Path, upstreams: dict[str, Repository]) -> None:
    """Without the tree's root, libostree deletes the root's metadata, though the commit names it."""
    pull = Pull("metadata", age=0, by_ref=True)
    repo = build(
        Description((Commit("main", Directory()), pull, Delete(0))),
        tmp_path / "repo",
        "archive",
        upstreams["archive"],
    )
    theirs = copy(repo.path, tmp_path / "theirs")
    options = Options(refs_only=True, depth=0)
    (root_metadata,) = (name for name in objects(repo.path) if name.endswith(".dirmeta"))
    assert root_metadata in repo.reached(repo.commits[-1])

    pruned_by_ostree(theirs, *options.arguments)
    pruned(repo.path, options)
    assert objects(theirs) == {f"{repo.commits[-1]}.commit"}
    assert objects(repo.path) == {f"{repo.commits[-1]}.commit", root_metadata}


def test_a_mark_without_its_commit_goes(tmp_path: Path, upstreams: dict[str, Repository]) -> None:
    """It stays for ever with libostree."""
    pull = Pull("metadata", age=0, by_ref=False)
    repo = build(
        Description((Commit("main", Directory()), pull, Lose(0))),
        tmp_path / "repo",
        "archive",
        upstreams["archive"],
    )
    assert len(pruned_by_ostree(repo.path).appendages) == 1
    pruned(repo.path, Options(refs_only=False, depth=-1))
    assert appendages(repo.path) == set()
