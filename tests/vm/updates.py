"""What the tests have in common: disks before and after an update, and what is right to find on them.

A plugin: pytest is started with `-p updates`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import image
from image import BRANCH, Disk
from machine import Machine, Moment
from support.sysroots import Sysroot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = os.environ.get("OSTREE_SWEEP_LONG") == "1"

# A shutdown that begins before systemd has started what finalizes would finalize nothing.
STAGE = (
    f"ostree admin deploy --stage {BRANCH} && "
    "until systemctl is-active --quiet ostree-finalize-staged.service; do sleep 0.1; done"
)
CLEANUP = "ostree-sweep-cleanup.service"
FINALIZED = "ostree-sweep-finalized.service"

# A disk so slow that a cleanup deletes for seconds.
WRITES_PER_S = 40

# Many more inodes are free than before: deletion has begun.
_UNTIL_IT_DELETES = """
free=$(stat -f -c %d /sysroot)
ostree-sweep stamp
systemctl start --no-block ostree-sweep-cleanup.service
until [ $(stat -f -c %d /sysroot) -gt $((free + 200)) ]; do :; done
"""

# What others look for; see docs/systemd.md.
CANCELLED = "e9a9045139354bf7b552a7a9f3d986b4"
CLEANED_UP = "2504b3f50c5c49cc8f674460f8a61907"


@dataclass(frozen=True)
class Updated:
    """A disk whose update is finalized, with nothing cleaned up yet.

    Attributes:
        disk: as the shutdown left it, with the stamp.
        objects: the objects before, and those that `ostree admin cleanup` leaves.
        shutdown_s: how long the shutdown took, in seconds.
    """

    disk: Disk
    before: frozenset[str]
    objects: frozenset[str]
    shutdown_s: float


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    """The disk that the machines' disks are copies of."""
    directory = tmp_path_factory.mktemp("image")
    yield image.build(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session", params=["read-only", "writable"] if LONG else ["read-only"])
def initial(request: pytest.FixtureRequest, built: Disk) -> Disk:
    """Two versions deployed, the second to be booted; /sysroot is mounted as the parameter says."""
    disk = built.copy(built.path.with_name(f"{request.param}.img"))
    with disk.mounted("loop") as sysroot:
        value = str(request.param == "read-only").lower()
        Sysroot(sysroot).ostree("config", "set", "sysroot.readonly", value)
    return disk


@pytest.fixture(scope="session")
def staged(initial: Disk) -> Moment:
    """The moment when the third version is staged."""
    return when_staged(initial)


@pytest.fixture(scope="session")
def updated(staged: Moment) -> Updated:
    """The same after it was finalized."""
    path = staged.disk.path
    with Machine.resumed(staged, path.with_name(f"{path.stem}-updated.img")) as machine:
        shutdown_s = machine.reboot()
        disk = machine.disk
    with disk.mounted() as root:
        assert (root / ".cleanup").exists()
    before = objects(disk)
    return Updated(disk, before, objects_after_ostree(disk), shutdown_s)


@pytest.fixture(scope="session")
def deleting(updated: Updated) -> Moment:
    """The moment in the boot after it when the cleanup begins to delete objects."""
    return when_it_deletes(updated.disk)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a test has its own disk; it is too large to be kept."""
    yield tmp_path / "disk.img"
    for path in tmp_path.glob("*.img"):
        path.unlink()


def when_staged(initial: Disk) -> Moment:
    """The moment when the update is staged."""
    return when_done(STAGE, initial, initial.path.with_name(f"{initial.path.stem}-staged.img"))


def when_done(script: str, disk: Disk, path: Path) -> Moment:
    """Boots a copy of the disk; the moment when a script has run there."""
    with Machine(disk.copy(path)) as machine:
        machine.wait_for_agent()
        machine.run(f"{script}; sync")
        return machine.keep()


def when_it_deletes(updated: Disk, prepare: str = ":") -> Moment:
    """Boots a copy of an updated disk, prepares the machine, and starts the cleanup on a slow disk."""
    disk = updated.copy(updated.path.with_name(f"{updated.path.stem}-deleting.img"))
    with disk.mounted("loop") as root:
        # Lest it begin before anybody looks.
        (root / ".cleanup").unlink()
    with Machine(disk, writes_per_s=WRITES_PER_S) as machine:
        machine.wait_for_agent()
        machine.run(f"{prepare}\n{_UNTIL_IT_DELETES}")
        return machine.keep()


def objects(disk: Disk) -> frozenset[str]:
    """The objects in a disk's repository."""
    with disk.mounted() as root:
        return Sysroot(root).objects()


def objects_after_ostree(disk: Disk) -> frozenset[str]:
    """What `ostree admin cleanup` leaves of them."""
    copy = disk.copy(disk.path.with_name("cleaned-by-ostree.img"))
    with copy.mounted("loop") as root:
        Sysroot(root).admin("cleanup")
        left = Sysroot(root).objects()
    copy.path.unlink()
    return left


def check_clean(disk: Disk, expected: frozenset[str]) -> None:
    """Checks that a cleanup did all it was to do, no more and no less."""
    # After a cut, what the guest wrote last is in its file system's journal only.
    with disk.mounted("loop") as root:
        assert not (root / ".cleanup").exists()
        assert Sysroot(root).objects() == expected
        Sysroot(root).ostree("fsck")


def journal(machine: Machine, *matches: str) -> list[dict[str, Any]]:
    """Messages in the machine's journal."""
    lines = machine.output(f"journalctl --output=json {' '.join(matches)}").splitlines()
    return [json.loads(line) for line in lines]


def property_of(machine: Machine, unit: str, name: str) -> str:
    """A unit's property."""
    return machine.output(f"systemctl show --property={name} --value {unit}")


def instant(number: int, of: int) -> float:
    """A random instant of the time from 0 to 1, in another part of it for each number."""
    return (number + random.Random(number).random()) / of  # noqa: S311 - no secret
