"""What the tests have in common: disks before and after an update, and what is right to find on them.

A plugin: pytest is started with `-p updates`.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import image
from image import BRANCH, Disk
from machine import Machine
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
def updated(initial: Disk) -> Updated:
    """The same after the third version was staged and finalized."""
    disk = initial.copy(initial.path.with_name(f"{initial.path.stem}-updated.img"))
    with Machine(disk) as machine:
        machine.wait_for_agent()
        machine.run(STAGE)
        shutdown_s = machine.reboot()
    with disk.mounted() as root:
        assert (root / ".cleanup").exists()
    before = objects(disk)
    return Updated(disk, before, objects_after_ostree(disk), shutdown_s)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a test has its own disk; it is too large to be kept."""
    yield tmp_path / "disk.img"
    for path in tmp_path.glob("*.img"):
        path.unlink()


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
