"""What an updater waits for a repository's exclusive lock, beside each command, impact and disk.

libostree tries for the lock once a second. Here one waiter tries every other millisecond, to see for how long
the lock was not to be had, and another one once a second, to see at which try it has the lock; they take
turns. Each command that deletes gets a fresh copy of a sysroot, with nothing in the page cache, and is ended
after `--longest` seconds. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from disks import MKFS, Image, a_writer
from repositories import ROOT, SWEEP, drop_caches, make_repo

sys.path.append(str(ROOT / "tests/python"))
from support.sysroots import Sysroot

OBJECTS_PER_DIRECTORY = 9
TO_DELETE = ["--refs-only", "--depth=0"]
IMPACTS = ("idle", "balanced", "full")

# The arguments of each command of ours, and whether it changes anything.
COMMANDS: dict[str, tuple[Sequence[str], bool]] = {
    "prune": (["prune", *TO_DELETE, "--repo=REPO", "IMPACT"], True),
    "cleanup": (["cleanup", "--auto", "--sysroot=SYSROOT", "IMPACT"], True),
    "apply": (["apply", "PLAN", "IMPACT"], True),
    "plan": (["plan", *TO_DELETE, "--repo=REPO", "--output=PLAN", "IMPACT"], False),
    "du": (["du", "--repo=REPO"], False),
}
OSTREE_PRUNE = ["ostree", "prune", *TO_DELETE, "--repo=REPO"]

# Requests a second, where they are limited to what a memory card may do, and whether another program writes.
DISKS: dict[str, tuple[int | None, bool]] = {
    "quiet": (None, False),
    "busy": (None, True),
    "slow": (1000, False),
}


@dataclasses.dataclass
class Waits:
    """What the waiters met beside one command.

    Attributes:
        seconds: how long the one waited who tries all the time.
        tries: how many tries the other one needed each time.
        watched: how long the command was watched in all, in seconds.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    tries: list[int] = dataclasses.field(default_factory=list)
    watched: float = 0.0

    def row(self, name: str) -> str:
        """A table's row."""
        longest, mean = max(self.seconds), sum(self.seconds) / len(self.seconds)
        soon = sum(tries <= 2 for tries in self.tries)
        once_a_second = f"{soon} of {len(self.tries)}" if self.tries else "-"
        times = f"{longest * 1000:,.0f} ms | {mean * 1000:.1f} ms | {len(self.seconds)}"
        return f"| {name} | {times} | {once_a_second} | {self.watched:.1f} s |"


def contestants(
    commands: Sequence[str], impacts: Sequence[str], builds: Sequence[Path]
) -> dict[str, tuple[list[str | Path], bool]]:
    """The commands to wait beside, and whether each needs a fresh copy."""
    found: dict[str, tuple[list[str | Path], bool]] = {}
    if "prune" in commands:
        found["`ostree prune`"] = (list(OSTREE_PRUNE), True)
    for build in (SWEEP, *builds):
        of = "" if build == SWEEP else f", {build}"
        for command in commands:
            arguments, changes = COMMANDS[command]
            if "IMPACT" not in arguments:
                found[f"`{command}`{of}"] = ([build, *arguments], changes)
                continue
            for impact in impacts:
                words = [f"--impact={impact}" if word == "IMPACT" else word for word in arguments]
                name = f"{command} --auto" if command == "cleanup" else command
                found[f"`{name} --impact={impact}`{of}"] = ([build, *words], changes)
    return found


def try_lock(descriptor: int) -> bool:
    """Takes the lock on a file if nobody else has it; closing the file releases it."""
    whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
    except OSError:
        return False
    return True


def wait_for_lock(repo: Path, interval: float, run: subprocess.Popen[bytes]) -> tuple[float, int]:
    """Takes a repository's exclusive lock; returns how many seconds and how many tries that took.

    Tries every `interval` seconds, and, so that no run is waited for that others have ended, while it runs.
    """
    start, tries = time.perf_counter(), 1
    with (repo / ".lock").open("a+b") as lock:
        while not try_lock(lock.fileno()) and run.poll() is None:
            time.sleep(interval)
            tries += 1
    return time.perf_counter() - start, tries


def beside(command: Sequence[str | Path], repo: Path, longest: float, waits: Waits) -> None:
    """Waits for the lock beside a command, in turns all the time and once a second, and adds what it met."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
        while run.poll() is None and time.perf_counter() < start + longest:
            for _ in range(4):
                time.sleep(random.uniform(0, 0.05))  # noqa: S311
                if run.poll() is None:
                    waits.seconds.append(wait_for_lock(repo, 0.002, run)[0])
            if run.poll() is None:
                waits.tries.append(wait_for_lock(repo, 1, run)[1])
        waits.watched += time.perf_counter() - start
        is_cut_short = run.poll() is None
        run.terminate()
        _, errors = run.communicate()
    if run.returncode != 0 and not is_cut_short:
        raise SystemExit(f"{command}: {run.returncode}: {errors.decode()}")


def in_copy(
    image: Image, disk: str, commands: dict[str, list[str | Path]], longest: float, waits: dict[str, Waits]
) -> None:
    """Runs commands one after the other on one fresh copy."""
    iops, busy = DISKS[disk]
    with image.copy(iops) as root, tempfile.TemporaryDirectory() as place:
        places = {
            "SYSROOT": root / "sysroot",
            "REPO": root / "sysroot/ostree/repo",
            "PLAN": Path(place) / "plan",
        }

        def spelled_out(command: Sequence[str | Path]) -> list[str | Path]:
            words = [str(word) for word in command]
            for name, path in places.items():
                words = [word.replace(name, str(path)) for word in words]
            return list(words)

        for name, command in commands.items():
            if "apply" in command:
                plan = [command[0], *COMMANDS["plan"][0][:-1], "--impact=full"]
                subprocess.run(spelled_out(plan), check=True, stdout=subprocess.DEVNULL)
            if iops is None:
                # The throttle finds what it reads in the page cache.
                drop_caches()
            with a_writer(root) if busy else contextlib.nullcontext():
                beside(spelled_out(command), places["REPO"], longest, waits[name])


def measure(
    image: Image, disk: str, found: dict[str, tuple[list[str | Path], bool]], rounds: int, longest: float
) -> dict[str, Waits]:
    """Measures all in turns: what changes nothing together on one copy, everything else on one of its own."""
    waits: dict[str, Waits] = {name: Waits() for name in found}
    for _ in range(rounds):
        for name, (command, changes) in found.items():
            if changes:
                in_copy(image, disk, {name: command}, longest, waits)
        if looks := {name: command for name, (command, changes) in found.items() if not changes}:
            in_copy(image, disk, looks, longest, waits)
    return waits


def fill(root: Path, objects: int) -> int:
    """Makes a sysroot whose cleanup is due; returns how many objects it has, half of them garbage."""
    sysroot = Sysroot.create(root / "sysroot")
    sysroot.deploy(0)
    directories = objects // OBJECTS_PER_DIRECTORY // 2
    count = make_repo(sysroot.repo, "bare", directories=directories, files=8, garbage=directories)
    (sysroot.repo / ".lock").touch()
    sysroot.stamp.touch()
    return count


def main() -> None:
    """Prints a table for each file system and disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="where to work: the disk that is measured")
    parser.add_argument("--objects", type=int, default=100_000, help="size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each command (default: %(default)s)")
    parser.add_argument(
        "--longest", type=float, default=5, metavar="SECONDS", help="of each run (default: %(default)s)"
    )
    parser.add_argument("--file-systems", nargs="*", default=list(MKFS), choices=list(MKFS))
    parser.add_argument("--disks", nargs="*", default=list(DISKS), choices=list(DISKS))
    parser.add_argument("--commands", nargs="*", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--impacts", nargs="*", default=list(IMPACTS), choices=list(IMPACTS))
    parser.add_argument(
        "--beside", type=Path, action="append", default=[], help="another build's ostree-sweep"
    )
    arguments = parser.parse_args()
    found = contestants(arguments.commands, arguments.impacts, arguments.beside)
    size_mib = 256 + arguments.objects * 7 // 1024
    counts: list[int] = []

    def fill_and_count(root: Path) -> None:
        counts.append(fill(root, arguments.objects))

    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        for file_system in arguments.file_systems:
            inodes = 2 * arguments.objects
            image = Image(Path(place, file_system), file_system, size_mib, fill_and_count, inodes)
            for disk in arguments.disks:
                waits = measure(image, disk, found, arguments.rounds, arguments.longest)
                print(f"\n### {counts[-1]:,} objects, {file_system}, {disk} disk\n")
                print("| beside | longest wait | mean | waits | second try | watched |")
                print("|---|---:|---:|---:|---:|---:|")
                for name, met in waits.items():
                    print(met.row(name) if met.seconds else f"| {name} | - | - | 0 | - | - |", flush=True)
            image.remove()


if __name__ == "__main__":
    main()
