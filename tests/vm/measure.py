"""How much longer shutdown and boot take: figures for docs/systemd.md.

measure.py DIRECTORY [ROUNDS]: builds the disk in DIRECTORY if it isn't there.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from image import Disk, build
from machine import Machine
from updates import CLEANUP, FINALIZED, STAGE, property_of

# What is done before the shutdown.
SHUTDOWNS = {
    "without the units": f"systemctl disable {FINALIZED} {CLEANUP}; {STAGE}",
    "no plan": STAGE,
    "with a plan": f"{STAGE}; ostree-sweep plan",
}


def shutdown(disk: Disk, script: str) -> float:
    """How long a shutdown takes after a script, in seconds."""
    with Machine(disk) as machine:
        machine.wait_for_agent()
        machine.run(f"{script}; sync")
        return machine.reboot()


def boot(disk: Disk) -> float:
    """How long after the kernel's start multi-user.target is reached, in seconds."""
    with Machine(disk) as machine:
        machine.wait_for_agent()
        return int(property_of(machine, "multi-user.target", "ActiveEnterTimestampMonotonic")) / 1e6


def main() -> None:
    """Prints the figures."""
    directory = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    initial = Disk(directory / "disk.img")
    if not initial.path.exists():
        build(directory)
    shutdowns: dict[str, list[float]] = {name: [] for name in SHUTDOWNS}
    boots: dict[str, list[float]] = {name: [] for name in ("without the units", "cleanup due", "nothing due")}
    for _ in range(rounds):
        for name, script in SHUTDOWNS.items():
            disk = initial.copy(directory / "measured.img")
            shutdowns[name].append(shutdown(disk, script))
            if name == "without the units":
                boots[name].append(boot(disk))
            elif name == "no plan":
                boots["cleanup due"].append(boot(disk))
            else:
                boots["nothing due"].append(boot(disk))
    for title, figures in (("shutdown", shutdowns), ("multi-user.target", boots)):
        for name, seconds in figures.items():
            low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
            print(f"{title}, {name}: {middle:.1f} s ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
