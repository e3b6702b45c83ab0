"""The power fails: during the cleanup, and while the update is finalized."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from machine import Machine
from support.sysroots import Sysroot
from updates import LONG, STAGE, check_clean

if TYPE_CHECKING:
    from pathlib import Path

    from image import Disk
    from updates import Updated


@pytest.fixture(scope="session")
def cleanup_s(updated: Updated) -> float:
    """How long a cleanup takes here if nobody disturbs it, the command's start included, in seconds."""
    own = updated.disk.copy(updated.disk.path.with_name("timed.img"))
    with Machine(own) as machine:
        machine.wait_for_console("cleanup begins")
        begun = time.monotonic()
        machine.wait_for_console("cleanup ends")
        return time.monotonic() - begun


@pytest.mark.parametrize("seed", range(20 if LONG else 2))
def test_the_next_boot_finishes_a_cleanup_that_a_power_cut_ended(
    updated: Updated, cleanup_s: float, disk: Path, seed: int
) -> None:
    own = updated.disk.copy(disk)
    with Machine(own) as machine:
        machine.wait_for_console("cleanup begins")
        # Even the longest of a few should be in time on a machine that is faster now.
        time.sleep(random.Random(seed).uniform(0, 0.9 * cleanup_s))  # noqa: S311 - no secret
        machine.cut()
    with own.mounted("loop") as root:
        sysroot = Sysroot(root)
        left = len(sysroot.objects() - updated.objects)
        print(f"cut {seed}: {left} of {len(updated.before - updated.objects)} objects were left")
        assert (root / ".cleanup").exists() or left == 0
        assert sysroot.objects() >= updated.objects
        sysroot.ostree("fsck")
    with Machine(own) as machine:
        machine.wait_for_agent()
        if left:
            machine.wait_for_console("cleanup ends")
        machine.run("until systemctl is-system-running --wait; do false; done; sync")
    check_clean(own, updated.objects)


@pytest.mark.parametrize("seed", range(10 if LONG else 2))
def test_a_cut_finalization_leaves_no_stamp_without_a_deployment(
    initial: Disk, updated: Updated, disk: Path, seed: int
) -> None:
    own = initial.copy(disk)
    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.run(STAGE)
        machine.send("systemctl reboot")
        time.sleep(random.Random(seed).uniform(0, updated.shutdown_s))  # noqa: S311
        machine.cut()
    with own.mounted("loop") as root:
        finalized = "Version: 3" in Sysroot(root).admin("status")
        stamped = (root / ".cleanup").exists()
        print(f"cut {seed}: {finalized=} {stamped=}")
        assert finalized or not stamped
        Sysroot(root).ostree("fsck")
