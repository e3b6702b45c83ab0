"""Figures for docs/systemd.md. Run with PYTHONPATH=tests/python.

measure.py DIRECTORY times|cuts [ROUNDS]; the disk is built in DIRECTORY if it isn't there.

times: how long shutdown takes, and how long it is until multi-user.target. What comes before is kept; with 0
rounds, only that is made.
cuts: what power cuts leave where the unit runs `ostree admin cleanup` in place of our command.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from image import Disk, build
from machine import Machine, Moment
from support.sysroots import Sysroot
from updates import (
    CLEANUP,
    FINALIZED,
    STAGE,
    WRITES_PER_S,
    instant,
    objects,
    objects_after_ostree,
    property_of,
    when_done,
    when_it_deletes,
    when_staged,
)

# What is done before the shutdown, and what the boot after it is an example of.
CASES = {
    "without the units": f"systemctl disable {FINALIZED} {CLEANUP}; {STAGE}",
    "no plan, so that a cleanup is due after the boot": STAGE,
    "with a plan, so that none is due": f"{STAGE}; ostree-sweep plan",
}
OSTREE_INSTEAD = f"""
cd /run/systemd/system
mkdir -p {CLEANUP}.d
printf '[Service]\\nExecStart=\\nExecStart=/usr/bin/ostree admin cleanup\\n' >{CLEANUP}.d/ostree.conf
systemctl daemon-reload
"""


def times(initial: Disk, rounds: int) -> None:
    """Prints medians, and the shortest and longest."""
    shutdowns: dict[str, list[float]] = {name: [] for name in CASES}
    boots: dict[str, list[float]] = {name: [] for name in CASES}
    moments = {
        name: ready(script, initial, initial.path.with_name(f"ready-{number}.img"))
        for number, (name, script) in enumerate(CASES.items())
    }
    for _ in range(rounds):
        for name, moment in moments.items():
            with Machine.resumed(moment, initial.path.with_name("measured.img")) as machine:
                shutdowns[name].append(machine.reboot())
            with Machine(machine.disk) as machine:
                machine.wait_for_agent()
                machine.run("until systemctl is-active --quiet multi-user.target; do sleep 0.1; done")
                reached = property_of(machine, "multi-user.target", "ActiveEnterTimestampMonotonic")
                boots[name].append(int(reached) / 1e6)
    for title, figures in (("shutdown", shutdowns), ("multi-user.target", boots)):
        for name, seconds in figures.items():
            if seconds:
                low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
                print(f"{title}, {name}: {middle:.1f} s ({low:.1f} to {high:.1f})")


def ready(script: str, initial: Disk, path: Path) -> Moment:
    """The moment when a script has run; it is made only once."""
    moment = Moment(Disk(path), path.with_suffix(".memory"))
    return moment if moment.memory.exists() else when_done(script, initial, path)


def cuts(initial: Disk, rounds: int) -> None:
    """Prints what each cut leaves."""
    with Machine.resumed(when_staged(initial), initial.path.with_name("updated.img")) as machine:
        machine.reboot()
        updated = machine.disk
    right = objects_after_ostree(updated)
    garbage = len(objects(updated) - right)
    deleting = when_it_deletes(updated, OSTREE_INSTEAD)
    path = updated.path.with_name("cut.img")
    with Machine.resumed(deleting, path, writes_per_s=WRITES_PER_S) as machine:
        begun = time.monotonic()
        machine.wait_for_console("cleanup ends")
        deletion_s = time.monotonic() - begun
    print(f"uncut, deletion takes {deletion_s:.1f} s")
    for number in range(rounds):
        after_s = instant(number, rounds) * deletion_s
        with Machine.resumed(deleting, path, writes_per_s=WRITES_PER_S) as machine:
            time.sleep(after_s)
        with machine.disk.mounted("loop") as root:
            left = len(Sysroot(root).objects() - right)
            fsck = subprocess.run(
                ["ostree", "fsck", f"--repo={root}/ostree/repo"], capture_output=True, text=True, check=False
            )
        verdict = "passes" if fsck.returncode == 0 else f"fails: {fsck.stderr.strip().splitlines()[-1]}"
        print(f"cut after {after_s:.1f} s: {left} of {garbage} objects left, fsck {verdict}", flush=True)


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
