"""What holds a repository's space: `usage`, and `why` an object is kept. Nothing is written.

Roots are those of `prune(refs_only=True)`, every ref with its history; of a sysroot those of a cleanup, every
deployment, and every ref without its history.

Each call takes the repository's shared lock for an instant, if it misses something.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial

from . import checks
from .cancellation import Cancellable
from .deployed import in_commit, is_path, object_at
from .described import described
from .frozen import Data, FrozenDict, dataclass
from .hints import TYPE_CHECKING, JsonObject, Optional, ProgressCallback, StrPath
from .reports import DanglingRef
from .retention import Policy, core_retention
from .work import effort_of, run

if TYPE_CHECKING:
    from ._core import _PolicyCheck, _Usage, _Why


@dataclass(frozen=True)
class StoredObjects:
    """Objects in a repository, and the space that they take.

    Attributes:
        objects: how many.
        bytes: sum of their contents, in bytes (`st_size`).
        disk_bytes: sum of their blocks on the disk, in bytes (`st_blocks`).
    """

    objects: int
    bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class StoredFiles:
    """Other files in a repository, and the space that they take.

    Attributes:
        files: how many.
        bytes: sum of their contents, in bytes (`st_size`).
        disk_bytes: sum of their blocks on the disk, in bytes (`st_blocks`).
    """

    files: int
    bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Holder:
    """Something that keeps objects.

    Attributes:
        kind: "deployment", "remote" (all refs of a remote together), "image" (a container image with its
            layers), "unneeded-layers" (all container layers that no image and no deployment needs) or "ref".
        name: its name: `STATEROOT CHECKSUM.SERIAL`, the remote's, the image's as container tools write it,
            or the ref's as `ostree` writes it. What flatpak has deployed counts with the remote's ref.
        commit: checksum of its commit; None for a remote and for layers.
        refs: the refs that are counted, as `ostree` writes them; empty for a deployment.
        exclusive: what nothing else keeps: what a prune frees if this one is dropped.
        shared: what others keep, too.
    """

    kind: str
    name: str
    commit: Optional[str]
    refs: tuple[str, ...]
    exclusive: StoredObjects
    shared: StoredObjects


@dataclass(frozen=True)
class Usage(Data):
    """What holds a repository's space.

    Attributes:
        holders: deployments, then remotes, then refs; the one that holds most of the disk alone comes first.
        total: all objects.
        garbage: what nothing keeps.
        unreferenced_commits: how many commits are in the garbage. `prune` deletes them, and what only they
            reach, with `refs_only`.
        deltas: static deltas and their indexes; None: this process may not read them.
        tmp: the repository's `tmp`: unfinished downloads and caches; None: this process may not read it.
        leftover_files: files that nothing owns and `ostree` never deletes: those that `prune` deletes with
            `leftovers`, and `.commitpartial` whose commit is missing; None: this process may not look.
        dangling_refs: refs of a sysroot that keep nothing, for their commits are missing.
    """

    holders: tuple[Holder, ...]
    total: StoredObjects
    garbage: StoredObjects
    unreferenced_commits: int
    deltas: Optional[StoredFiles]
    tmp: Optional[StoredFiles]
    leftover_files: Optional[StoredFiles]
    dangling_refs: tuple[DanglingRef, ...]


@dataclass(frozen=True)
class Way:
    """A way from what keeps an object to the object.

    Attributes:
        kind: "deployment", "image" or "ref".
        name: its name, as in `Holder`.
        commit: checksum of the first commit in its history that leads to the object.
        generation: how many generations that is behind its own commit.
        path: where in that commit's tree the object is; None for the commit itself.
    """

    kind: str
    name: str
    commit: str
    generation: int
    path: Optional[str]


@dataclass(frozen=True)
class Explanation(Data):
    """Why an object is kept, or that it is not.

    Attributes:
        object: its name, `CHECKSUM.TYPE`.
        place: "here", "parent" (in a parent repository only) or "nowhere".
        parent: the path of that parent repository.
        bytes: its size, if it is here.
        kept_by: one way for each ref or deployment that keeps it.
        dropped_with: checksums of commits that lead to it, and are garbage as well; empty while it is kept.
        beyond_depth_of: for a commit that is garbage, the refs with it in their history, too far back.
        missing: what was missing on the way; what that leads to isn't known.
    """

    object: str
    place: str
    parent: Optional[str]
    bytes: Optional[int]
    kept_by: tuple[Way, ...]
    dropped_with: tuple[str, ...]
    beyond_depth_of: tuple[str, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> JsonObject:
        """What `ostree-sweep why --json` prints, but for where it looked."""
        return {**super().to_dict(), "is_garbage": self.is_garbage}

    @property
    def is_garbage(self) -> bool:
        """Whether it is here and a prune deletes it."""
        return self.place == "here" and not self.kept_by


@dataclass(frozen=True)
class RuledRef:
    """What a policy does to one ref's history.

    Attributes:
        name: the ref's name as `ostree` writes it.
        rule: the name or pattern of its rule; None: it goes by the default.
        depth: how many parents its rule keeps; -1: all.
        since: its rule also keeps parents made since then, in seconds since 1970.
        kept: commits in its history that stay, by its own rule or for another root.
        kept_for: of these, the ones that its own rule does not keep: how many, by a ref whose rule does.
        pruned: commits in its history that go.
    """

    name: str
    rule: Optional[str]
    depth: int
    since: Optional[int]
    kept: int
    kept_for: Mapping[str, int]
    pruned: int


@dataclass(frozen=True)
class PolicyCheck(Data):
    """What a prune by a policy does.

    Attributes:
        refs: all refs, by name.
        pruned: commits that go, each counted once, with those that no ref leads to.
        unreferenced: of these, the ones that no ref leads to.
    """

    refs: tuple[RuledRef, ...]
    pruned: int
    unreferenced: int


@described
def check_policy(
    policy: Policy,
    repo: StrPath,
    *,
    lock_timeout_s: Optional[float] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> PolicyCheck:
    """Shows which rule of a policy each ref gets, and how many commits a prune by it deletes.

    Args:
        policy: the policy.
        repo: the repository.
        lock_timeout_s, cancellable, progress: see `work`.

    Raises:
        UnknownRefError: a rule matches no ref; the prune stops there, too.
        OstreeSweepError: a ref has no rule; the prune stops there, too.
        NotARepoError, UnsupportedRepoError, CorruptRepoError, LockTimeoutError, OperationCancelled, OSError,
            TypeError, ValueError: see `work`.
    """
    checks.instance("policy", policy, Policy)
    path = checks.path("repo", repo)
    effort = effort_of("balanced", None, lock_timeout_s=lock_timeout_s)
    from . import core

    work = partial(core.check_policy, path, retention=core_retention(policy=policy), effort=effort)
    return run(work, _policy_check, cancellable, progress)


@described
def usage(
    repo: Optional[StrPath] = None,
    *,
    sysroot: Optional[StrPath] = None,
    depth: int = -1,
    lock_timeout_s: Optional[float] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> Usage:
    """Says how much each deployment, remote and ref holds, alone and shared with others.

    Args:
        repo: the repository.
        sysroot: look at this sysroot and its repository instead.
        depth: how many parents of a ref's commit are kept too; -1: all. For a repository only.
        lock_timeout_s, cancellable, progress: see `work`.

    Raises:
        NotARepoError, UnsupportedRepoError, CorruptRepoError, LockTimeoutError, OperationCancelled,
            OstreeSweepError, OSError, TypeError, ValueError: see `work`.
    """
    path, is_sysroot = _place(repo, sysroot)
    checks.depth("depth", depth)
    effort = effort_of("balanced", None, lock_timeout_s=lock_timeout_s)
    from . import core

    work = partial(core.usage, path, is_sysroot=is_sysroot, depth=depth, effort=effort)
    return run(work, _usage, cancellable, progress)


@described
def why(
    object_name: str,
    repo: Optional[StrPath] = None,
    *,
    sysroot: Optional[StrPath] = None,
    depth: int = -1,
    lock_timeout_s: Optional[float] = None,
    cancellable: Optional[Cancellable] = None,
    progress: Optional[ProgressCallback] = None,
) -> Explanation:
    """Says what keeps an object, by which way, or that it's garbage.

    Args:
        object_name: `CHECKSUM.TYPE`, a checksum, the beginning of one that is unique (among commits, if any
            commit's begins so), a ref (`REF`, `REMOTE:REF`, `COLLECTION:REF` or `(COLLECTION, REF)`), an
            image's name, a file or directory in a commit (`COMMIT:/PATH` or `REF:/PATH`), or the path of a
            deployed one or of an object's file, which begins with `/`, `./` or `../`.
        repo: the repository.
        sysroot: look at this sysroot and its repository instead.
        depth: how many parents of a ref's commit are kept too; -1: all. For a repository only.
        lock_timeout_s, cancellable, progress: see `work`.

    Raises:
        NotARepoError, UnsupportedRepoError, CorruptRepoError, UnknownRefError, LockTimeoutError,
            OperationCancelled, OstreeSweepError, OSError, TypeError, ValueError: see `work`.
    """
    checks.text("object_name", object_name)
    path, is_sysroot = _place(repo, sysroot)
    checks.depth("depth", depth)
    effort = effort_of("balanced", None, lock_timeout_s=lock_timeout_s)
    from . import core

    name = object_at(object_name) or (in_commit(object_name) if is_path(object_name) else object_name)
    work = partial(core.why, path, name=name, is_sysroot=is_sysroot, depth=depth, effort=effort)
    return run(work, _explanation, cancellable, progress)


def _policy_check(found: _PolicyCheck) -> PolicyCheck:
    refs = (
        RuledRef(
            each["name"],
            each["rule"],
            each["depth"],
            each["since"],
            each["kept"],
            FrozenDict(each["kept_for"]),
            each["pruned"],
        )
        for each in found["refs"]
    )
    return PolicyCheck(tuple(refs), found["pruned"], found["unreferenced"])


def _usage(found: _Usage) -> Usage:
    return Usage(
        holders=tuple(
            Holder(
                holder["kind"],
                holder["name"],
                holder["commit"],
                tuple(holder["refs"]),
                StoredObjects(**holder["exclusive"]),
                StoredObjects(**holder["shared"]),
            )
            for holder in found["holders"]
        ),
        total=StoredObjects(**found["total"]),
        garbage=StoredObjects(**found["garbage"]),
        unreferenced_commits=found["unreferenced_commits"],
        deltas=found["deltas"] and StoredFiles(**found["deltas"]),
        tmp=found["tmp"] and StoredFiles(**found["tmp"]),
        leftover_files=found["leftover_files"] and StoredFiles(**found["leftover_files"]),
        dangling_refs=tuple(DanglingRef(*each) for each in found["dangling_refs"]),
    )


def _explanation(found: _Why) -> Explanation:
    return Explanation(
        object=found["object"],
        place=found["place"],
        parent=found["parent"],
        bytes=found["bytes"],
        kept_by=tuple(Way(**way) for way in found["kept_by"]),
        dropped_with=tuple(found["dropped_with"]),
        beyond_depth_of=tuple(found["beyond_depth_of"]),
        missing=tuple(found["missing"]),
    )


def _place(repo: Optional[StrPath], sysroot: Optional[StrPath]) -> tuple[str, bool]:
    """The place to look at, and whether it is a sysroot."""
    if repo is not None and sysroot is None:
        return checks.path("repo", repo), False
    if sysroot is not None and repo is None:
        return os.path.abspath(checks.path("sysroot", sysroot)), True
    raise ValueError("either repo or sysroot must be given, and not both")
