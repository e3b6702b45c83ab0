"""The power fails: during the cleanup, and while the update is finalized."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from machine import Machine
from support.sysroots import Sysroot
from updates import CLEANUP, LONG, WRITES_PER_S, check_clean, instant, objects, property_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from machine import Moment
    from updates import Updated

CUTS = 20 if LONG else 2
FINALIZATION_CUTS = 10 if LONG else 2


@pytest.fixture(scope="session")
def deletion_s(deleting: Moment) -> float:
    """How long the cleanup goes on from there if nobody disturbs it, in seconds."""
    path = deleting.disk.path
    with Machine.resumed(deleting, path.with_name("timed.img"), writes_per_s=WRITES_PER_S) as machine:
        begun = time.monotonic()
        machine.wait_for_console("cleanup ends")
        return time.monotonic() - begun


@pytest.fixture(scope="session")
def partial() -> Iterator[list[bool]]:
    """Whether a cut left some of the garbage, but not all: for each cut."""
    partial: list[bool] = []
    yield partial
    print(f"{sum(partial)} of {len(partial)} cuts left some of the garbage, but not all")
    # Or they would show little.
    assert not LONG or sum(partial) >= len(partial) / 3


@pytest.mark.parametrize("seed", range(CUTS))
def test_the_next_boot_finishes_a_cleanup_that_a_power_cut_ended(
    updated: Updated, deleting: Moment, deletion_s: float, partial: list[bool], disk: Path, seed: int
) -> None:
    with Machine.resumed(deleting, disk, writes_per_s=WRITES_PER_S) as machine:
        own = machine.disk
        after_s = instant(seed, CUTS) * deletion_s
        time.sleep(after_s)
        machine.cut()
    with own.mounted("loop") as root:
        sysroot = Sysroot(root)
        left = len(sysroot.objects() - updated.objects)
        garbage = len(updated.before - updated.objects)
        print(f"cut {seed}, {after_s:.1f} of {deletion_s:.1f} s: {left} of {garbage} objects were left")
        partial.append(0 < left < garbage)
        assert (root / ".cleanup").exists() or left == 0
        assert sysroot.objects() >= updated.objects
        sysroot.ostree("fsck")
        stamped = (root / ".cleanup").exists()
    with Machine(own) as machine:
        machine.wait_for_agent()
        if stamped:
            machine.wait_for_console("cleanup ends")
        machine.run("until systemctl is-system-running --wait; do false; done; sync")
    check_clean(own, updated.objects)


@pytest.mark.parametrize("seed", range(FINALIZATION_CUTS))
def test_a_cut_finalization_leaves_no_stamp_without_a_deployment(
    staged: Moment, updated: Updated, disk: Path, seed: int
) -> None:
    with Machine.resumed(staged, disk) as machine:
        own = machine.disk
        machine.send("systemctl reboot")
        after_s = instant(seed, FINALIZATION_CUTS) * updated.shutdown_s
        time.sleep(after_s)
        machine.cut()
    with own.mounted("loop") as root:
        finalized = "Version: 3" in Sysroot(root).admin("status")
        stamped = (root / ".cleanup").exists()
        print(f"cut {seed}, {after_s:.1f} of {updated.shutdown_s:.1f} s: {finalized=} {stamped=}")
        assert finalized or not stamped
        Sysroot(root).ostree("fsck")
    before = objects(own)
    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.run("until systemctl is-system-running --wait; do false; done; sync")
        assert property_of(machine, CLEANUP, "ConditionResult") == ("yes" if stamped else "no")
    if stamped:
        check_clean(own, updated.objects)
    else:
        with own.mounted("loop") as root:
            assert Sysroot(root).objects() == before
