"""A plan, then changes it knows nothing of, then deletion by it: nothing that is needed goes."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import event, given
from hypothesis import strategies as st

import ostree_sweep
from support.examples import examples
from support.repositories import (
    MODES,
    Description,
    Repository,
    Step,
    build,
    commits,
    copy,
    descriptions,
    fsck,
    objects,
    refs,
)

if TYPE_CHECKING:
    from ostree_sweep import PrunePlan


@dataclasses.dataclass(frozen=True)
class Prune:
    """Somebody else prunes."""

    depth: int

    def apply(self, repo: Repository) -> None:
        """As every step."""
        repo.ostree("prune", "--refs-only", f"--depth={self.depth}")
        there = commits(repo.path)
        repo.commits[:] = [commit for commit in repo.commits if commit in there]
        repo.whole &= there


@dataclasses.dataclass(frozen=True)
class Revive:
    """A commit gets a ref again, as by a rollback."""

    age: int

    def apply(self, repo: Repository) -> None:
        """As every step."""
        checksum = repo.commit(self.age)
        if checksum in repo.whole:
            repo.ostree("refs", "--force", f"--create=revived/{self.age}", checksum)


@dataclasses.dataclass(frozen=True)
class Recommit:
    """A commit's tree is committed once more, with or without a ref."""

    age: int
    orphan: bool

    def apply(self, repo: Repository) -> None:
        """As every step."""
        checksum = repo.commit(self.age)
        if checksum in repo.whole:
            where = ["--orphan"] if self.orphan else [f"--branch=again/{self.age}"]
            made = repo.ostree("commit", *where, f"--tree=ref={checksum}", f"--subject={self}").strip()
            repo.commits.append(made)
            repo.whole.add(made)


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """An object is deleted, and written again with the same content."""

    number: int

    def apply(self, repo: Repository) -> None:
        """As every step."""
        files = sorted(repo.path.glob("objects/??/*"))
        path = files[self.number % len(files)]
        scratch = path.with_name("scratch")
        copy(path, scratch)
        path.unlink()
        scratch.rename(path)


_ages = st.integers(0, 9)

CHANGES: list[st.SearchStrategy[Step]] = [
    st.builds(Prune, st.sampled_from((-1, 0, 1))),
    st.builds(Revive, _ages),
    st.builds(Recommit, _ages, st.booleans()),
    st.builds(Rewrite, st.integers(0, 99)),
    descriptions().flatmap(lambda description: st.sampled_from(description.steps)),
]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to keep."""

    refs_only: bool
    depth: int


OPTIONS = st.builds(Options, st.sampled_from((True, True, True, False)), st.sampled_from((-1, 0, 0, 1, 2)))


@examples(part=2)
@given(
    mode=st.sampled_from(MODES),
    description=descriptions(),
    options=OPTIONS,
    changed=st.lists(st.one_of(CHANGES), min_size=1, max_size=5),
    jobs=st.sampled_from((1, 8)),
)
def test_what_is_needed_stays_whatever_changed(
    upstreams: dict[str, Repository],
    mode: str,
    description: Description,
    options: Options,
    changed: list[Step],
    jobs: int,
) -> None:
    kept = dataclasses.asdict(options)
    with tempfile.TemporaryDirectory() as place:
        repo = build(description, Path(place) / "repo", mode, upstreams[mode])
        try:
            plan = ostree_sweep.plan(repo=repo.path, output=Path(place) / "plan", **kept)
        except ostree_sweep.CorruptRepoError:
            # A ref to a commit that was lost: nothing can be planned, nor pruned.
            event("no plan")
            return
        assert plan.objects == ostree_sweep.prune(repo.path, dry_run=True, **kept).objects_pruned
        for step in changed:
            if repo.commits:
                step.apply(repo)
        assert_applies(repo, plan, options, jobs)


def assert_applies(repo: Repository, plan: PrunePlan, options: Options, jobs: int) -> None:
    """Applies a plan: what a prune of the repository as it is now leaves stays, and a prune leaves that."""
    kept = dataclasses.asdict(options)
    reference = copy(repo.path, repo.path.with_name("reference"))
    try:
        ostree_sweep.prune(reference, **kept)
    except ostree_sweep.CorruptRepoError:
        event("corrupt")
        before = objects(repo.path)
        with contextlib.suppress(ostree_sweep.CorruptRepoError):
            ostree_sweep.apply(plan, jobs=jobs)
        assert objects(repo.path) == before
        return
    left, before = objects(reference), objects(repo.path)
    told = ostree_sweep.apply(plan, jobs=jobs, dry_run=True)
    done = ostree_sweep.apply(plan, jobs=jobs)
    after = objects(repo.path)
    assert told.objects_pruned == done.objects_pruned == len(before - after) <= plan.objects
    assert left <= after
    fsck(repo.path)
    event("all went" if after == left else "some went" if after < before else "nothing went")
    ostree_sweep.prune(repo.path, **kept)
    assert objects(repo.path) == left
    assert refs(repo.path) == refs(reference)
