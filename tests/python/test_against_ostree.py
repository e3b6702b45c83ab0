"""libostree is the oracle: with all options, on random repositories, we delete what `ostree prune` deletes.

Which commits are to be kept is worked out here a second time, from the options and the commits' parents.
With these commits given to it as refs, `ostree prune` says which objects go: exactly these have to be the
ones that go here, with one thread or eight, dry or real. With the options themselves it may delete more, in
the cases that `may_differ` names, and never less.
"""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

import ostree_sweep
from support.workshop import (
    BRANCHES,
    BRANCHES_DRAWN,
    EPOCH,
    HOURS,
    MODES,
    Built,
    Commit,
    Description,
    Workshop,
    deltas,
    descriptions,
    objects,
    ostree,
    read_refs,
    write_ref,
)

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = int(os.environ.get("OSTREE_SWEEP_EXAMPLES", "200"))


@dataclasses.dataclass(frozen=True)
class Options:
    """What a prune is asked for."""

    refs_only: bool = False
    depth: int = -1
    commit_only: bool = False
    younger_than: int | None = None
    retain: tuple[tuple[str, int], ...] = ()
    only: frozenset[str] = frozenset()

    @property
    def by_branch(self) -> bool:
        """Whether dates or branches are asked for, which implies refs only."""
        return self.younger_than is not None or bool(self.retain) or bool(self.only)

    def ostree(self) -> list[str]:
        """For `ostree prune`."""
        arguments = [f"--depth={self.depth}"]
        arguments += ["--refs-only"] if self.refs_only else []
        arguments += ["--commit-only"] if self.commit_only else []
        arguments += [f"--keep-younger-than=@{self.younger_than}"] if self.younger_than is not None else []
        arguments += [f"--retain-branch-depth={branch}={depth}" for branch, depth in self.retain]
        arguments += [f"--only-branch={branch}" for branch in sorted(self.only)]
        return arguments

    def prune(
        self, repo: Path, *, dry_run: bool = False, jobs: int | None = None
    ) -> tuple[ostree_sweep.PruneReport, set[str]]:
        """Prunes with us; returns the report and the names of what went."""
        items: list[ostree_sweep.PrunedItem] = []
        report = ostree_sweep.prune(
            repo,
            refs_only=self.refs_only,
            depth=self.depth,
            commit_only=self.commit_only,
            keep_younger_than=self.younger_than,
            retain_branch_depth=dict(self.retain),
            only_branches=self.only,
            # `ostree prune` ignores branches to retain that do not exist.
            strict=False,
            dry_run=dry_run,
            jobs=jobs,
            items=items.append,
        )
        names = [item.name for item in items if item.type in report.by_type]
        assert len(names) == len(set(names)) == report.objects_pruned
        return report, set(names)


DEPTHS = st.sampled_from([-1, 0, 1, 1, 2])

all_options = st.builds(
    Options,
    refs_only=st.sampled_from([False, True, True]),
    depth=DEPTHS,
    commit_only=st.sampled_from([False, False, True]),
    younger_than=st.none() | st.one_of(HOURS, st.just(1)).map(lambda hours: EPOCH + 3600 * hours),
    retain=st.just(())
    | st.dictionaries(BRANCHES_DRAWN | st.just("origin:main"), DEPTHS, min_size=1, max_size=2).map(
        lambda chosen: tuple(chosen.items())
    ),
    only=st.just(frozenset[str]()) | st.frozensets(st.sampled_from(BRANCHES), max_size=2),
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


def rule(options: Options, ref: str) -> tuple[int, int | None]:
    """The depth and the date for a ref's history."""
    general = (options.depth, None) if options.younger_than is None else (0, options.younger_than)
    if ref in dict(options.retain):
        # `ostree prune` can't tell a depth of 0 from none.
        depth = dict(options.retain)[ref]
        return (depth, None) if depth else general
    return (-1, None) if options.only and ref not in options.only else general


def history(built: Built, tip: str, depth: int, since: int | None) -> set[str]:
    """The commits of a history that are to be kept."""
    kept: set[str] = set()
    commit: str | None = tip
    young = True
    while commit is not None and commit in built.commits:
        parent, time = built.commits[commit]
        young = young and since is not None and time >= since
        if kept and not young and 0 <= depth < len(kept):
            break
        kept.add(commit)
        commit = parent
    return kept or {tip}


def to_keep(built: Built, options: Options, present: set[str]) -> set[str]:
    """All commits to be kept."""
    kept = set()
    for ref, tip in read_refs(built.path).items():
        kept |= history(built, tip, *rule(options, ref))
    return kept if options.refs_only or options.by_branch else present


def partial(built: Built) -> bool:
    """Whether there is a partial commit."""
    return any((built.path / "state").glob("*.commitpartial"))


def may_differ(built: Built, options: Options) -> bool:
    """Whether it is a case in which `ostree prune` is known to delete too much.

    A history cut at some depth or date and also reached from elsewhere (its issue 2338), mirrored refs, which
    options for dates and branches make it overlook, and partial commits, of which it forgets a part.
    """
    refs = read_refs(built.path)
    histories = [history(built, tip, -1, None) for tip in refs.values()]
    shared = sum(map(len, histories)) > len(set().union(*histories))
    cut = options.depth > 0 or options.by_branch
    overlooked = options.by_branch and any(ref.startswith("(") for ref in refs)
    return (shared and cut) or overlooked or partial(built)


def check(workshop: Workshop, built: Built, options: Options) -> None:
    """Compares us with `ostree prune`, on copies of one repository."""
    before = objects(built.path)
    commits = {name.removesuffix(".commit") for name in before if name.endswith(".commit")}
    kept = to_keep(built, options, commits)
    note(f"{options}, refs {read_refs(built.path)}, to keep {kept}")
    ours, ours_alone, oracle, theirs = (workshop.copy(built.path) for _ in range(4))

    dry, would_go = options.prune(built.path, dry_run=True)
    assert objects(built.path) == before
    report, went = options.prune(ours, jobs=8)
    _, went_alone = options.prune(ours_alone, jobs=1)
    assert went == would_go == went_alone == before - objects(ours) == before - objects(ours_alone)
    assert dataclasses.replace(dry, dry_run=False).by_type == report.by_type
    assert dry.bytes_freed == report.bytes_freed
    ostree(ours, "fsck", "--quiet")
    _, nothing = options.prune(ours)
    assert not nothing

    # What has to go, given what has to stay.
    assert {name for name in went if name.endswith(".commit")} == {
        f"{commit}.commit" for commit in commits - kept
    }
    if not options.commit_only:
        for number, commit in enumerate(sorted(kept)):
            write_ref(oracle, f"heads/kept/{number}", commit)
        ostree(oracle, "prune", "--refs-only", "--depth=0")
        beside = objects(ours) - objects(oracle)
        assert objects(oracle) <= objects(ours)
        # Of a partial commit without its root directory, `ostree prune` deletes the root's metadata.
        assert all(name.endswith(".dirmeta") for name in beside) if partial(built) else not beside
    assert deltas(ours) == deltas(ours_alone)

    # What `ostree prune` makes of the options.
    printed = ostree(theirs, "prune", *options.ostree())
    extra = objects(ours) - objects(theirs)
    assert objects(theirs) <= objects(ours)
    if not may_differ(built, options):
        assert extra == set()
        assert deltas(ours) == deltas(theirs)
        assert f"objects: {report.objects_total}\n" in printed
        assert (f"Deleted {len(went)} objects, " in printed) == bool(went)
    event("ostree prune deletes more" if extra else "the same set goes")
    workshop.discard([built.path, ours, ours_alone, oracle, theirs])


def test_the_same_objects_go(workshop: Workshop) -> None:
    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(description=descriptions, options=all_options, mode=st.sampled_from(MODES))
    def compare(description: Description, options: Options, mode: str) -> None:
        built = workshop.build(description, mode)
        # `ostree prune` demands that these exist, as we do.
        present = options.only & read_refs(built.path).keys()
        check(workshop, built, dataclasses.replace(options, only=present))

    compare()


def chain(workshop: Workshop, length: int) -> tuple[Built, list[str]]:
    """A branch of so many commits; returns their checksums, the oldest first."""
    commits = tuple(Commit("main", (number % 3, 0, 0), number, orphan=False) for number in range(length))
    built = workshop.build(
        Description(commits, frozenset(), frozenset(), None, None, None, partial=False), "archive"
    )
    return built, list(built.commits)


@pytest.mark.parametrize("retained", ["main", "origin:main"])
def test_a_history_is_kept_by_depth_and_by_date(workshop: Workshop, retained: str) -> None:
    """Two refs lead to it: one keeps two commits, the other keeps three by their date."""
    built, commits = chain(workshop, 4)
    write_ref(built.path, "remotes/origin/main", commits[-1])
    options = Options(younger_than=EPOCH + 3600, retain=((retained, 1),))
    _, went = options.prune(built.path)
    assert {name for name in went if name.endswith(".commit")} == {f"{commits[0]}.commit"}
    ostree(built.path, "fsck", "--quiet")


def test_mirrored_refs_count_with_dates_and_branches(workshop: Workshop) -> None:
    """`ostree prune` forgets mirrored refs as soon as it is given a date or a branch."""
    built, commits = chain(workshop, 3)
    (built.path / "refs/heads/main").unlink()
    write_ref(built.path, "heads/other", commits[0])
    write_ref(built.path, "mirrors/org.example.Mirror/main", commits[2])
    theirs = workshop.copy(built.path)
    ostree(theirs, "prune", "--keep-younger-than=now")
    assert f"{commits[2]}.commit" not in objects(theirs)
    Options(younger_than=EPOCH + 10**8).prune(built.path)
    assert f"{commits[2]}.commit" in objects(built.path)
    ostree(built.path, "fsck", "--quiet")
