"""Figures for docs/systemd.md. Run with PYTHONPATH=tests/python.

measure.py DIRECTORY times|cuts [ROUNDS]; the disk is built in DIRECTORY if it isn't there.

times: how long shutdown takes, and how long it is until multi-user.target.
cuts: what power cuts in `ostree admin cleanup` leave, run by the same unit in place of ours.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

from image import Disk, build
from machine import Machine
from support.sysroots import Sysroot
from updates import CLEANUP, FINALIZED, STAGE, objects, objects_after_ostree, property_of

# What is done before the shutdown, and what the boot after it is an example of.
CASES = {
    "without the units": f"systemctl disable {FINALIZED} {CLEANUP}; {STAGE}",
    "no plan, so that a cleanup is due after the boot": STAGE,
    "with a plan, so that none is due": f"{STAGE}; ostree-sweep plan",
}
OSTREE_INSTEAD = "[Service]\nExecStart=\nExecStart=/usr/bin/ostree admin cleanup\n"
# `ostree admin cleanup` takes that long here.
LONGEST_S = 14.0


def times(initial: Disk, rounds: int) -> None:
    """Prints medians, and the shortest and longest."""
    shutdowns: dict[str, list[float]] = {name: [] for name in CASES}
    boots: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, script in CASES.items():
            disk = initial.copy(initial.path.with_name("measured.img"))
            with Machine(disk) as machine:
                machine.wait_for_agent()
                machine.run(f"{script}; sync")
                shutdowns[name].append(machine.reboot())
            with Machine(disk) as machine:
                machine.wait_for_agent()
                machine.run("until systemctl is-active --quiet multi-user.target; do sleep 0.1; done")
                reached = property_of(machine, "multi-user.target", "ActiveEnterTimestampMonotonic")
                boots[name].append(int(reached) / 1e6)
    for title, figures in (("shutdown", shutdowns), ("multi-user.target", boots)):
        for name, seconds in figures.items():
            low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
            print(f"{title}, {name}: {middle:.1f} s ({low:.1f} to {high:.1f})")


def cuts(initial: Disk, rounds: int) -> None:
    """Prints what each cut leaves."""
    updated = initial.copy(initial.path.with_name("updated.img"))
    with Machine(updated) as machine:
        machine.wait_for_agent()
        machine.run(STAGE)
        machine.reboot()
    right, all_before = objects_after_ostree(updated), objects(updated)
    with updated.mounted("loop") as root:
        for units in root.glob("ostree/deploy/os/deploy/*.0/etc/systemd/system"):
            (units / f"{CLEANUP}.d" / "ostree.conf").write_text(OSTREE_INSTEAD)
    for seed in range(rounds):
        disk = updated.copy(updated.path.with_name("cut.img"))
        after_s = random.Random(seed).uniform(0, LONGEST_S)  # noqa: S311 - no secret
        with Machine(disk) as machine:
            machine.wait_for_console("cleanup begins")
            time.sleep(after_s)
        with disk.mounted("loop") as root:
            left = Sysroot(root).objects()
            fsck = subprocess.run(
                ["ostree", "fsck", f"--repo={root}/ostree/repo"], capture_output=True, text=True, check=False
            )
        verdict = "passes" if fsck.returncode == 0 else f"fails: {fsck.stderr.strip().splitlines()[-1]}"
        of = f"{len(left - right)} of {len(all_before - right)}"
        print(f"cut {after_s:.1f} s after its start: {of} objects left, fsck {verdict}")


def main() -> None:
    """Measures."""
    directory, what = Path(sys.argv[1]), {"times": times, "cuts": cuts}[sys.argv[2]]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    initial = Disk(directory / "disk.img")
    if not initial.path.exists():
        directory.mkdir(parents=True, exist_ok=True)
        build(directory)
    what(initial, rounds)


if __name__ == "__main__":
    main()
