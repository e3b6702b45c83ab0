# The compiled core. Private: use `ostree_sweep` or `ostree_sweep.aio`.

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Literal, TypedDict, final

from typing_extensions import TypeAlias

__all__ = [
    "FREED_ENOUGH",
    "FREE_ENOUGH",
    "OUT_OF_TIME",
    "VERSION",
    "Plan",
    "apply",
    "check_policy",
    "cleanup",
    "format_size",
    "parse_date",
    "plan_repo",
    "plan_sysroot",
    "prune",
    "status",
    "usage",
    "why",
]

FREED_ENOUGH: str
FREE_ENOUGH: str
OUT_OF_TIME: str
VERSION: str

_Phase: TypeAlias = Literal["lock", "paused", "deployments", "roots", "crawl", "sweep", "done"]
_StrPath: TypeAlias = str | PathLike[str]
_ProgressFn: TypeAlias = Callable[[_Phase, int, int | None, int, str | None], object]

class _Tally(TypedDict):
    total: int
    pruned: int
    bytes_freed: int

class _Failure(TypedDict):
    path: str
    error: str
    errno: int | None

class _PrunedCommit(TypedDict):
    commit: str
    name: str | None
    version: str | None
    timestamp: int | None

class _PruneReport(TypedDict):
    dry_run: bool
    objects_total: int
    objects_pruned: int
    bytes_freed: int
    by_type: dict[str, _Tally]
    deltas_pruned: int
    delta_indexes_pruned: int
    leftovers_pruned: int
    tmp_pruned: int
    tmp_bytes_freed: int
    disk_bytes_freed: int
    deployments_removed: list[str]
    container_layers_removed: list[str]
    by_plan: bool
    plan_refused: str | None
    unfinished: str | None
    warnings: list[str]
    dangling_refs: list[tuple[str, str]]
    pruned_commits: list[_PrunedCommit]
    failures: list[_Failure]
    exclusive_lock_longest_s: float
    exclusive_lock_total_s: float
    shared_lock_longest_s: float
    shared_lock_total_s: float
    sysroot_lock_longest_s: float
    sysroot_lock_total_s: float
    duration_s: float

class _TmpTotal(TypedDict):
    entries: int
    bytes: int

class _Deployment(TypedDict):
    index: int
    stateroot: str
    checksum: str
    serial: int
    booted: bool
    staged: bool
    pinned: bool
    pending: bool
    rollback: bool
    finalization_locked: bool
    soft_reboot_prepared: bool
    soft_reboot_incomplete: bool
    version: str | None
    image: str | None

class _Status(TypedDict):
    deployments: list[_Deployment]
    repo: str
    repo_lock: Literal["free", "shared", "exclusive", "unknown"]
    sysroot_locked: bool | None
    unreadable_images: list[tuple[str, str]]
    leftovers: list[str]
    obstacles: list[_Failure]
    strays: list[str]
    tmp: _TmpTotal

_Keep: TypeAlias = tuple[int, int | None]

class _Retention(TypedDict):
    refs_only: bool
    depth: int
    commit_only: bool
    keep_younger_than: int | None
    retain_branch_depth: Sequence[tuple[str, int]]
    only_branches: Sequence[str]
    exclude_refs: Sequence[str]
    strict: bool
    policy: tuple[Sequence[tuple[str, _Keep, bool]], _Keep | None] | None
    protected: Sequence[str]
    ignore_missing_commits: bool
    unreferenced_since: int | None

class _Effort(TypedDict):
    impact: str
    jobs: int | None
    unlinks_per_s: int | None
    time_budget_s: float | None
    lock_timeout_s: float | None
    lock_slice_s: float

class _Callbacks(TypedDict):
    cancelled: Callable[[], bool] | None
    paused: Callable[[], bool] | None
    progress: _ProgressFn | None
    items: Callable[[str, str, str], object] | None

class _Total(TypedDict):
    objects: int
    bytes: int

class _Dropped(TypedDict):
    commit: str
    names: list[str]
    alone: _Total
    shared: _Total

class _PlanSummary(TypedDict):
    made_at: int
    sysroot: str | None
    repo: str
    roots: list[tuple[str, str]]
    dropped: list[_Dropped]
    by_type: dict[str, _Total]
    tmp: _TmpTotal

class _StoredObjects(TypedDict):
    objects: int
    bytes: int
    disk_bytes: int

class _StoredFiles(TypedDict):
    files: int
    bytes: int
    disk_bytes: int

class _Holder(TypedDict):
    kind: Literal["deployment", "remote", "image", "unneeded-layers", "ref"]
    name: str
    commit: str | None
    refs: list[str]
    exclusive: _StoredObjects
    shared: _StoredObjects

class _Usage(TypedDict):
    holders: list[_Holder]
    total: _StoredObjects
    garbage: _StoredObjects
    unreferenced_commits: int
    deltas: _StoredFiles | None
    tmp: _StoredFiles | None
    leftover_files: _StoredFiles | None
    dangling_refs: list[tuple[str, str]]

class _Way(TypedDict):
    kind: Literal["deployment", "ref"]
    name: str
    commit: str
    generation: int
    path: str | None

class _Why(TypedDict):
    object: str
    place: Literal["here", "parent", "nowhere"]
    parent: str | None
    bytes: int | None
    kept_by: list[_Way]
    dropped_with: list[str]
    beyond_depth_of: list[str]
    missing: list[str]

class _RuledRef(TypedDict):
    name: str
    rule: str | None
    depth: int
    since: int | None
    kept: int
    kept_for: dict[str, int]
    pruned: int

class _PolicyCheck(TypedDict):
    refs: list[_RuledRef]
    pruned: int
    unreferenced: int

@final
class Plan:
    @staticmethod
    def read(path: _StrPath) -> Plan: ...
    def write(self, path: _StrPath) -> None: ...
    def check(self, repo: _StrPath) -> None: ...
    def summary(self) -> _PlanSummary: ...
    def names(self) -> list[str]: ...

def plan_repo(
    repo: _StrPath,
    *,
    retention: _Retention,
    effort: _Effort,
    callbacks: _Callbacks,
) -> Plan: ...
def plan_sysroot(
    sysroot: _StrPath,
    *,
    effort: _Effort,
    callbacks: _Callbacks,
) -> Plan: ...
def apply(
    repo: _StrPath,
    *,
    plan: Plan,
    max_freed: int | None,
    free_until: int | None,
    dry_run: bool,
    effort: _Effort,
    callbacks: _Callbacks,
) -> _PruneReport: ...
def prune(
    repo: _StrPath,
    *,
    retention: _Retention,
    delete_commit: str | None,
    deltas_of: str | None,
    stale_tmp: bool,
    leftovers: bool,
    max_freed: int | None,
    free_until: int | None,
    dry_run: bool,
    effort: _Effort,
    callbacks: _Callbacks,
) -> _PruneReport: ...
def cleanup(
    sysroot: _StrPath,
    *,
    plan: Plan | None,
    must_cover: bool,
    own_plans: list[str],
    container_layers: bool,
    max_freed: int | None,
    free_until: int | None,
    dry_run: bool,
    effort: _Effort,
    callbacks: _Callbacks,
) -> _PruneReport: ...
def status(sysroot: _StrPath) -> _Status: ...
def usage(
    path: _StrPath,
    *,
    is_sysroot: bool,
    depth: int,
    effort: _Effort,
    callbacks: _Callbacks,
) -> _Usage: ...
def why(
    path: _StrPath,
    *,
    name: str,
    is_sysroot: bool,
    depth: int,
    effort: _Effort,
    callbacks: _Callbacks,
) -> _Why: ...
def check_policy(
    repo: _StrPath,
    *,
    retention: _Retention,
    effort: _Effort,
    callbacks: _Callbacks,
) -> _PolicyCheck: ...
def parse_date(date: str | int) -> int: ...
def format_size(size: int) -> str: ...
