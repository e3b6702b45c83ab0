"""The whole command at boot: with nothing to do, and the memory it takes to clean up a small device."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from repositories import SWEEP, make_repo

from measure import Contestant, as_it_is, report, run, table

PASS = Contestant("`python3 -c pass`", lambda _: [sys.executable, "-c", "pass"])
CLEANUP = Contestant(
    "`ostree-sweep cleanup --auto`", lambda sysroot: [SWEEP, "cleanup", "--auto", f"--sysroot={sysroot}"]
)
OSTREE = Contestant(
    "`ostree admin cleanup`", lambda sysroot: ["ostree", "admin", "cleanup", f"--sysroot={sysroot}"]
)


@contextlib.contextmanager
def new_sysroot() -> Iterator[Path]:
    """A sysroot of a small device, where a cleanup is due."""
    with tempfile.TemporaryDirectory() as place:
        sysroot = Path(place)
        subprocess.run(["ostree", "admin", "init-fs", sysroot], check=True)
        make_repo(sysroot / "ostree" / "repo", "bare", "device")
        subprocess.run([SWEEP, "stamp", f"--sysroot={sysroot}"], check=True, stdout=subprocess.DEVNULL)
        yield sysroot


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each contestant (default: 5)")
    parser.add_argument("--write", action="store_true", help="write to docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, report("startup", write=arguments.write):
        subprocess.run(["ostree", "admin", "init-fs", place], check=True)
        table("Nothing to do", run([PASS, CLEANUP], 4 * arguments.rounds, as_it_is(Path(place))))
        table("A small device's cleanup", run([PASS, CLEANUP, OSTREE], arguments.rounds, new_sysroot))


if __name__ == "__main__":
    main()
