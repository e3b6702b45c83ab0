"""What an updater waits for a repository's exclusive lock, beside each impact and beside `ostree prune`.

libostree asks for the lock once a second; here that is done every other millisecond, to see for how long it
was not to be had. The disk is that of `--dir`, once quiet and once with somebody who writes and syncs all the
time. Each contestant gets a fresh copy, in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from repositories import SWEEP, make_repo

TO_DELETE = ["--refs-only", "--depth=0"]

# Of a crawl that rests for hours so much is enough.
LONGEST_S = 30.0


def contestants(others: Sequence[Path]) -> dict[str, list[str | Path]]:
    """The commands to wait beside."""
    found: dict[str, list[str | Path]] = {"ostree prune": ["ostree", "prune", *TO_DELETE]}
    for command in (SWEEP, *others):
        name = "ostree-sweep prune" if command == SWEEP else str(command)
        for impact in ("idle", "balanced", "full"):
            found[f"{name} --impact={impact}"] = [command, "prune", *TO_DELETE, f"--impact={impact}"]
    return found


@contextlib.contextmanager
def a_writer(directory: Path) -> Iterator[None]:
    """Somebody writes and syncs 64 MiB, over and over."""
    loop = f"while :; do dd if=/dev/zero of={directory}/busy bs=1M count=64 conv=fsync 2>/dev/null; done"
    with subprocess.Popen(["sh", "-c", loop], start_new_session=True) as writer:
        try:
            yield
        finally:
            os.killpg(writer.pid, signal.SIGKILL)


def try_lock(descriptor: int) -> bool:
    """Takes the lock on a file if nobody else has it; closing the file releases it."""
    whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
    except OSError:
        return False
    return True


def wait_for_lock(repo: Path) -> float:
    """Takes a repository's exclusive lock; returns how many seconds that took."""
    start = time.perf_counter()
    with (repo / ".lock").open("a+b") as lock:
        while not try_lock(lock.fileno()):
            time.sleep(0.002)
    return time.perf_counter() - start


def beside(command: Sequence[str | Path], repo: Path) -> tuple[list[float], float]:
    """Waits for the lock every tenth of a second; returns the waits, and for how long it did so."""
    start = time.perf_counter()
    waits = []
    with subprocess.Popen([*command, f"--repo={repo}"], stdout=subprocess.DEVNULL) as run:
        while run.poll() is None and time.perf_counter() < start + LONGEST_S:
            time.sleep(0.1)
            waits.append(wait_for_lock(repo))
        run.terminate()
    return waits, time.perf_counter() - start


def main() -> None:
    """Prints a table for each disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to make it: the file system that is measured")
    parser.add_argument(
        "--beside", type=Path, action="append", default=[], help="another build's ostree-sweep"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        original, repo = Path(place) / "original", Path(place) / "copy"
        directories = arguments.objects // 9
        objects = make_repo(original, "archive", directories=directories // 2, garbage=directories // 2)
        (original / ".lock").touch()
        for title, busy in (("quiet", False), ("somebody writes and syncs", True)):
            print(f"\n### {objects:,} objects, {title}\n")
            print("| beside | longest wait | mean | watched |\n|---|---:|---:|---:|")
            found: dict[str, tuple[list[float], float]] = {}
            for _ in range(arguments.rounds):
                for name, command in contestants(arguments.beside).items():
                    subprocess.run(["cp", "-a", original, repo], check=True)
                    os.sync()
                    with a_writer(Path(place)) if busy else contextlib.nullcontext():
                        waits, watched = beside(command, repo)
                    before = found.get(name, ([], 0.0))
                    found[name] = (before[0] + waits, before[1] + watched)
                    shutil.rmtree(repo)
            for name, (waits, watched) in found.items():
                mean = sum(waits) / len(waits)
                print(f"| {name} | {max(waits):.3f} s | {mean * 1000:.1f} ms | {watched:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
