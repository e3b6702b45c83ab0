"""What others feel: a process that syncs, or reads, beside the deletion of 100,000 objects.

The writer does what a database's log does: it appends 2 to 8 KiB and calls fdatasync, 100 times a second.
The reader opens and reads a file that is not in the page cache, as often. Both are measured alone, and beside
each deletion, in turns. Each run gets a fresh copy of a file system, with the repository and nothing in the
page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from disks import MKFS, Image
from repositories import SWEEP, core, make_repo

# Nine objects each, nearly all of them garbage.
DIRECTORIES = 12_000
KEPT = 0.01

_INTERVAL_S = 0.01
_FILES = 20_000

Command = Sequence["str | Path"]

DELETIONS: dict[str, Command] = {
    "ostree prune": ["ionice", "-c3", "ostree", "prune", "--refs-only"],
    "idle": [SWEEP, "prune", "--refs-only", "--impact=idle"],
    "balanced": [SWEEP, "prune", "--refs-only", "--impact=balanced"],
    "full": [SWEEP, "prune", "--refs-only", "--impact=full"],
}

# Each changes one thing, of `idle` or of `full`.
VARIANTS: dict[str, Command] = {
    "idle": ["idle"],
    "idle, no batches": ["idle", "no-batch"],
    "idle, slices of 128 files": ["idle", "back-off=75,128"],
    "idle, back-off of 10 times": ["idle", "back-off=10,8"],
    "idle, own priorities": ["idle", "no-priority"],
    "idle, no back-off": ["idle", "no-back-off"],
    "idle, no write-back": ["idle", "no-write-back"],
    "idle, 8 threads": ["idle", "jobs=8"],
    "full": ["full"],
    "full, 1 thread": ["full", "jobs=1"],
    "full, batches of 100": ["full", "batch=100"],
}


@dataclasses.dataclass
class Felt:
    """What the foreground felt.

    Attributes:
        latencies: of each call, in seconds, with the time since the start at which it began.
        seconds: how long each deletion took.
        objects: how many there were after the last round.
        last: how many of the latencies are the last round's.
    """

    latencies: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    objects: int = 0
    last: int = 0

    def quantile(self, share: float) -> float:
        """The latency that this share of calls doesn't exceed."""
        ordered = sorted(latency for _, latency in self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def write(directory: Path) -> Iterator[None]:
    """Appends and syncs, each time it's asked."""
    rng = random.Random(1)  # noqa: S311
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    data = rng.randbytes(8192)
    while True:
        size = rng.randrange(2048, 8193)
        yield
        os.write(log, data[:size])
        os.fdatasync(log)


def read(directory: Path) -> Iterator[None]:
    """Reads a file that was not read before, each time it's asked."""
    rng = random.Random(1)  # noqa: S311
    names = list((directory / "files").iterdir())
    rng.shuffle(names)
    while True:
        for name in names:
            yield
            file = os.open(name, os.O_RDONLY)
            os.read(file, 1 << 16)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


# Requests a second: no limit, and what a memory card may do.
DISKS = {"fast": None, "slow": 1000}

FOREGROUNDS = {"write": write, "read": read}


def foreground(kind: str, directory: Path) -> None:
    """Works until stdin ends; then prints what it felt."""
    os.set_blocking(0, False)
    step = FOREGROUNDS[kind](directory)
    next(step)
    felt = []
    begin = due = time.perf_counter()
    while sys.stdin.buffer.raw.read(1) is None:
        due += _INTERVAL_S
        time.sleep(max(0, due - time.perf_counter()))
        start = time.perf_counter()
        next(step)
        felt.append((start - begin, time.perf_counter() - start))
    print(json.dumps(felt))


@contextlib.contextmanager
def watched(kind: str, directory: Path) -> Iterator[list[tuple[float, float]]]:
    """Runs a foreground; gives what it felt once it has ended."""
    command = [sys.executable, __file__, f"--foreground={kind}", f"--dir={directory}"]
    felt: list[tuple[float, float]] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        time.sleep(0.5)
        yield felt
        printed, _ = process.communicate()
    felt += [(start, latency) for start, latency in json.loads(printed) if start > 0]


def delete(command: Command, root: Path, at_most: float | None = None) -> float:
    """Runs a deletion, and ends it after `at_most` seconds; returns how many it took."""
    start = time.perf_counter()
    environment = {**os.environ, "OSTREE_REPO": str(root / "repo")}
    command = [root / "repo" if part == "REPO" else part for part in command]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, timeout=at_most)
    return time.perf_counter() - start


def beside(command: Command | None, kind: str, root: Path, seconds: float, at_most: float | None) -> Felt:
    """What the foreground feels beside a deletion, for `seconds` at least; None: beside nothing."""
    with watched(kind, root) as latencies:
        end = time.perf_counter() + seconds
        took = [] if command is None else [delete(command, root, at_most)]
        # What a deletion leaves to the kernel is written half a minute later.
        time.sleep(max(0, end - time.perf_counter()))
    return Felt(latencies, took)


def measure(
    commands: Mapping[str, Command],
    kind: str,
    image: Image,
    iops: int | None,
    rounds: int,
    seconds: float,
    at_most: float | None,
) -> dict[str, Felt]:
    """Measures all in turns."""
    measured: dict[str, Felt] = {}
    for _ in range(rounds):
        for name, command in {"alone": None, **commands}.items():
            # The longest of more calls is longer: alone there must be as many as anywhere.
            at_least = seconds if command is not None else max(seconds, at_most or 0)
            with image.copy(iops) as root:
                felt = beside(command, kind, root, at_least, at_most)
                felt.objects = sum(1 for _ in (root / "repo" / "objects").glob("*/*"))
            all_of_it = measured.setdefault(name, Felt())
            all_of_it.latencies += felt.latencies
            all_of_it.last = len(felt.latencies)
            all_of_it.objects = felt.objects
            all_of_it.seconds += felt.seconds
    return measured


def table(title: str, measured: Mapping[str, Felt], at_most: float | None) -> None:
    """Prints what was felt, and how it compares with being alone."""
    print(f"\n### {title}\n")
    print("| | calls | p50 | p99 | p99.9 | longest | p99, of alone | longest, of alone | deleted | in |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    alone = measured["alone"]
    for name, felt in measured.items():
        shares = [felt.quantile(share) for share in (0.5, 0.99, 0.999, 1)]
        ratios = [felt.quantile(share) / alone.quantile(share) for share in (0.99, 1)]
        took = f"{statistics.median(felt.seconds):.1f} s" if felt.seconds else "-"
        if at_most is not None and max(felt.seconds, default=0) >= at_most:
            took = f"more than {at_most:.0f} s"
        cells = [
            name,
            f"{len(felt.latencies):,}",
            *(f"{share * 1000:.2f} ms" for share in shares),
            *(f"{ratio:.2f}" for ratio in ratios),
            f"{alone.objects - felt.objects:,}" if felt.seconds else "-",
            took,
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


def picture(title: str, path: Path, measured: Mapping[str, Felt]) -> None:
    """Draws the longest latency in each half second of the last round."""
    import pygal

    chart = pygal.Line(
        title=f"{title}: the longest call in each half second",
        x_title="seconds since the deletion began",
        y_title="milliseconds",
        logarithmic=True,
        stroke=False,
        dots_size=2,
        show_x_guides=False,
        x_labels_major_every=20,
        show_minor_x_labels=False,
        truncate_label=-1,
        js=[],
        style=pygal.style.CleanStyle,
    )
    end = 0
    for name, felt in measured.items():
        longest: dict[int, float] = {}
        for start, latency in felt.latencies[-felt.last :]:
            longest[int(start * 2)] = max(longest.get(int(start * 2), 0), latency)
        chart.add(name, [round(longest[half] * 1000, 2) for half in sorted(longest)])
        end = max(end, max(longest))
    chart.x_labels = [f"{half / 2:g}" for half in range(end + 1)]
    chart.render_to_file(path)


def durations(file_system: str, commands: Mapping[str, Command], image: Image, rounds: int) -> None:
    """Prints how long deletions take with nothing beside them."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            with image.copy(None) as root:
                taken[name].append(delete(command, root))
    print(f"\n### {file_system}, fast disk, nothing beside it\n")
    print("| | median | min to max |")
    print("|---|---:|---:|")
    for name, seconds in taken.items():
        print(
            f"| {name} | {statistics.median(seconds):.2f} s | {min(seconds):.2f} to {max(seconds):.2f} |",
            flush=True,
        )


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="where to work: the file system that is measured")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each deletion (default: 3)")
    parser.add_argument(
        "--seconds", type=float, default=45, help="how long each run lasts at least (default: 45)"
    )
    parser.add_argument(
        "--at-most", type=float, metavar="SECONDS", help="end deletions beside a foreground after so long"
    )
    parser.add_argument("--directories", type=int, default=DIRECTORIES, help="size of the repository")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw latencies over time")
    parser.add_argument("--variants", nargs="*", metavar="NAME", help="what each part of pacing does, alone")
    parser.add_argument("--kinds", nargs="*", default=list(FOREGROUNDS), choices=list(FOREGROUNDS))
    parser.add_argument("--file-systems", nargs="*", default=["ext4", "xfs"], choices=list(MKFS))
    parser.add_argument("--disks", nargs="*", default=list(DISKS), choices=list(DISKS))
    parser.add_argument("--foreground", choices=list(FOREGROUNDS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.foreground is not None:
        foreground(arguments.foreground, arguments.dir)
        return
    commands: Mapping[str, Command] = DELETIONS
    if arguments.variants is not None:
        commands = {
            name: [core(), "delete", "REPO", *(VARIANTS.get(name) or name.split())]
            for name in arguments.variants or VARIANTS
        }

    def fill(root: Path) -> None:
        if "read" in arguments.kinds:
            (root / "files").mkdir()
            for number in range(_FILES):
                (root / "files" / str(number)).write_bytes(os.urandom(4096))
        kept = int(arguments.directories * KEPT)
        garbage = arguments.directories - kept
        make_repo(root / "repo", "bare", directories=kept, files=8, garbage=garbage)

    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        for file_system in arguments.file_systems:
            image = Image(Path(place, file_system), file_system, 2048, fill)
            if "fast" in arguments.disks:
                durations(file_system, commands, image, arguments.rounds)
            for disk in arguments.disks:
                for kind in arguments.kinds:
                    measured = measure(
                        commands,
                        kind,
                        image,
                        DISKS[disk],
                        arguments.rounds,
                        arguments.seconds,
                        arguments.at_most,
                    )
                    title = f"{kind}, {file_system}, {disk} disk"
                    table(title, measured, arguments.at_most)
                    if arguments.pictures is not None:
                        name = title.replace(",", "").replace(" ", "-")
                        picture(title, arguments.pictures / f"{name}.svg", measured)


if __name__ == "__main__":
    main()
