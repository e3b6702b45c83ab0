"""Plans: lists of objects to delete, made beforehand, and the places where a sysroot keeps its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from functools import partial

from . import log
from .frozen import Data, FrozenDict, dataclass
from .hints import TYPE_CHECKING, JsonObject, Optional, StrPath
from .places import physical_root
from .writable import run_writable

if TYPE_CHECKING:
    from ._core import Plan, _PlanSummary

_RUNTIME_PLACE = "/run/ostree-sweep/plan"


@dataclass(frozen=True)
class ObjectTotal:
    """Some objects.

    Attributes:
        objects: how many.
        bytes: sum of their sizes (`st_size`), in bytes.
    """

    objects: int
    bytes: int


@dataclass(frozen=True)
class TmpTotal:
    """What interrupted transactions left in a repository's `tmp`.

    Attributes:
        entries: files and directories in it.
        bytes: sum of the sizes (`st_size`) of all files in them, in bytes.
    """

    entries: int
    bytes: int


@dataclass(frozen=True)
class PlanRoot:
    """What a plan assumes to be kept.

    Attributes:
        name: the ref, deployment or option that names it.
        commit: checksum of the commit.
    """

    name: str
    commit: str


@dataclass(frozen=True)
class Dropped:
    """A commit that is to go.

    Attributes:
        commit: its checksum.
        names: the deployments that kept it, and the refs that it was made for.
        alone: what nothing else reaches.
        shared: what other commits that are to go reach, too.
    """

    commit: str
    names: tuple[str, ...]
    alone: ObjectTotal
    shared: ObjectTotal


@dataclass(frozen=True)
class PrunePlan(Data):
    """The objects to delete later.

    Attributes:
        path: the file that holds it; None if it is kept nowhere, and can't be applied.
        made_at: when it was made, in seconds since 1970.
        sysroot: the sysroot it was made for; None: for a repository alone.
        repo: the repository.
        roots: what it assumes to be kept.
        dropped: the commits that are to go.
        by_type: the objects to delete, by type of object as in `PruneReport`.
        tmp: what a cleanup of the sysroot will remove from the repository's `tmp`, as far as it is there.
    """

    path: Optional[str]
    made_at: int
    sysroot: Optional[str]
    repo: str
    roots: tuple[PlanRoot, ...]
    dropped: tuple[Dropped, ...]
    by_type: Mapping[str, ObjectTotal]
    tmp: TmpTotal

    @classmethod
    def load(cls, path: StrPath) -> PrunePlan:
        """Reads a plan's file.

        Raises:
            OSError: it can't be read.
            StalePlanError: it is no plan, is damaged, or can't be trusted.
        """
        from . import core

        return prune_plan(core.Plan.read(path).summary(), os.fspath(path))

    def to_dict(self) -> JsonObject:
        """What `ostree-sweep plan --json` prints."""
        return {**super().to_dict(), "objects": self.objects, "bytes": self.bytes}

    @property
    def objects(self) -> int:
        """Number of objects that are to go."""
        return sum(total.objects for total in self.by_type.values())

    @property
    def bytes(self) -> int:
        """Sum of their sizes, in bytes."""
        return sum(total.bytes for total in self.by_type.values())


def prune_plan(summary: _PlanSummary, path: Optional[str]) -> PrunePlan:
    """The core's summary of a plan as ours."""
    return PrunePlan(
        path=path,
        made_at=summary["made_at"],
        sysroot=summary["sysroot"],
        repo=summary["repo"],
        roots=tuple(PlanRoot(*root) for root in summary["roots"]),
        dropped=tuple(
            Dropped(
                dropped["commit"],
                tuple(dropped["names"]),
                ObjectTotal(**dropped["alone"]),
                ObjectTotal(**dropped["shared"]),
            )
            for dropped in summary["dropped"]
        ),
        by_type=FrozenDict({name: ObjectTotal(**total) for name, total in summary["by_type"].items()}),
        tmp=TmpTotal(**summary["tmp"]),
    )


def object_names(path: StrPath) -> list[str]:
    """The names of all objects that the plan in a file would delete, as `CHECKSUM.TYPE`.

    Raises:
        OSError, StalePlanError: as for `PrunePlan.load`.
    """
    from . import core

    return core.Plan.read(path).names()


class PlanPlaces:
    """Where a sysroot keeps its own plan.

    That is `ostree/sweep.plan` in its physical root, which outlasts a reboot. For the running system there is
    another copy below `/run`, for the unit that applies it at shutdown.
    """

    def __init__(self, sysroot: StrPath) -> None:
        self._physical = physical_root(sysroot)
        is_running = os.path.samefile(sysroot, "/")
        lasting = os.path.join(self._physical, "ostree/sweep.plan")
        self.paths: tuple[str, ...] = (_RUNTIME_PLACE, lasting) if is_running else (lasting,)

    def find(self) -> Optional[str]:
        """The first that is there."""
        return next((path for path in self.paths if os.path.lexists(path)), None)

    def write(self, plan: Plan) -> str:
        """Writes a plan to all places; returns the one that lasts.

        Raises:
            OSError: it can't be written.
        """
        for path in self.paths:
            if path == _RUNTIME_PLACE:
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            run_writable(self._physical, partial(plan.write, path))
            log.info("plan written: %s", path)
        return self.paths[-1]

    def snapshot(self) -> dict[str, tuple[int, int, int]]:
        """The files that are there now."""
        found = {}
        for path in self.paths:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                found[path] = (status.st_dev, status.st_ino, status.st_mtime_ns)
        return found

    def remove(self, known: Mapping[str, tuple[int, int, int]]) -> list[str]:
        """Removes, durably, the files that are still those of a snapshot; a newer plan stays.

        Returns:
            Why some could not be removed, for people to read. A plan that stays does no harm.
        """
        failed = []
        for path, identity in self.snapshot().items():
            if known.get(path) != identity:
                continue
            try:
                run_writable(self._physical, partial(_unlink, path))
            except OSError as error:
                failed.append(f"cannot remove the plan {path}: {error.strerror or error}")
            else:
                log.info("plan removed: %s", path)
        return failed


def _unlink(path: str) -> None:
    directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.unlink(os.path.basename(path), dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)
