"""Crawl and prune, side by side with `ostree prune`, `flatpak build-update-repo` and the floor.

Makes repositories of a desktop system's shape with `ostree`, then runs the contestants in turns, so that a
change in the machine's speed meets all of them alike. Prints medians, and ratios to `ostree prune`.
Cold rows, which drop the page cache before each run, need root.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of one contestant: wall-clock seconds, and peak resident memory in KiB."""

    seconds: float
    peak_kib: int


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A command that does the work on a repository."""

    name: str
    command: Callable[[Path], Sequence[str | Path]]


def measure(command: Sequence[str | Path]) -> Sample:
    """Runs a command to its end, and fails if it fails."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, errors = child.stdout, child.stderr
    assert output is not None and errors is not None  # noqa: S101, PT018
    _, status, usage = os.wait4(child.pid, 0)
    elapsed = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    printed, complaint = output.read(), errors.read()
    if child.returncode != 0:
        raise SystemExit(f"{command}: {complaint}")
    if Path(command[0]).name.startswith("core-"):
        # It tells its own time, without the start of the process.
        seconds, peak_kib = printed.split()
        return Sample(float(seconds), int(peak_kib))
    return Sample(elapsed, usage.ru_maxrss)


def core_bench() -> Path:
    """Builds the benchmark of the core alone and returns its executable."""
    command = ["cargo", "bench", "--locked", "--bench", "core", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(
        Path(message["executable"])
        for message in messages
        if message.get("executable") and message["target"]["name"] == "core"
    )


def make_repo(path: Path, mode: str, directories: int, *, keep: float) -> None:
    """Commits a tree of `directories` with eight files each; all but the share `keep` becomes garbage."""
    ostree = ["ostree", f"--repo={path}"]
    subprocess.run([*ostree, "init", f"--mode={mode}"], check=True)
    for branch, first, last in (
        ("kept", 0, int(directories * keep)),
        ("dropped", int(directories * keep), directories),
    ):
        if first == last:
            continue
        with tempfile.TemporaryDirectory(dir=path.parent) as tree:
            for number in range(first, last):
                directory = Path(tree, str(number % 30), str(number % 400), str(number))
                directory.mkdir(parents=True)
                for file in range(8):
                    (directory / f"a-file-with-a-usual-name-{file}").write_text(f"{number} {file}")
            subprocess.run(
                [*ostree, "commit", "--fsync=false", "-b", branch, f"--tree=dir={tree}"],
                check=True,
                stdout=subprocess.DEVNULL,
            )
    subprocess.run([*ostree, "refs", "--delete", "dropped"], check=True)


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def run(
    contestants: Sequence[Contestant], rounds: int, prepare: Callable[[], Path]
) -> dict[str, list[Sample]]:
    """Runs all contestants in turns; `prepare` gives each run its repository."""
    samples: dict[str, list[Sample]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds + 1):
        for contestant in contestants:
            sample = measure(contestant.command(prepare()))
            # The first round warms up.
            if number > 0:
                samples[contestant.name].append(sample)
    return samples


def table(title: str, samples: dict[str, list[Sample]]) -> None:
    """Prints medians, their spread, and how each compares with the first contestant."""
    print(f"\n### {title}\n")
    print("| | median | min to max | times faster | peak memory | share of memory |")
    print("|---|---:|---:|---:|---:|---:|")
    base: Sample | None = None
    for name, runs in samples.items():
        times = [run.seconds for run in runs]
        median = Sample(statistics.median(times), int(statistics.median(run.peak_kib for run in runs)))
        base = base or median
        print(
            f"| {name} | {median.seconds:.3f} s | {min(times):.3f} to {max(times):.3f} "
            f"| {base.seconds / median.seconds:.1f} | {median.peak_kib / 1024:.1f} MiB "
            f"| {median.peak_kib / base.peak_kib:.0%} |"
        )


def crawl(directory: Path, core: Path, rounds: int, size: int) -> None:
    """Nothing to delete: what a run costs in any case."""
    repo = directory / "crawl"
    make_repo(repo, "bare", size, keep=1)
    # What is still to be written back would be paid for by whoever runs first.
    os.sync()
    objects = sum(len(files) for _, _, files in os.walk(repo / "objects"))
    contestants = [
        Contestant(
            "ostree prune --no-prune",
            lambda repo: ["ostree", "prune", "--refs-only", "--no-prune", f"--repo={repo}"],
        ),
        Contestant("the core alone", lambda repo: [core, "crawl", repo]),
        Contestant(
            "ostree-sweep prune --dry-run",
            lambda repo: [BIN / "ostree-sweep", "prune", "--refs-only", "--dry-run", f"--repo={repo}"],
        ),
        Contestant("floor: the same reads and listings", lambda repo: [core, "floor", repo]),
    ]
    table(f"Crawl of {objects:,} objects, nothing to delete, warm", run(contestants, rounds, lambda: repo))
    if os.geteuid() == 0:

        def cold() -> Path:
            drop_caches()
            return repo

        table(f"Crawl of {objects:,} objects, nothing to delete, cold", run(contestants, rounds, cold))
    shutil.rmtree(repo)


def no_op(directory: Path, rounds: int) -> None:
    """A cleanup that is not needed: what each boot pays."""
    sysroot = directory / "sysroot"
    sysroot.mkdir()
    subprocess.run(["ostree", "admin", "init-fs", sysroot], check=True)
    contestants = [
        Contestant("python -c pass", lambda _: [sys.executable, "-c", "pass"]),
        Contestant(
            "ostree-sweep cleanup --auto",
            lambda sysroot: [BIN / "ostree-sweep", "cleanup", "--auto", f"--sysroot={sysroot}"],
        ),
    ]
    table("No cleanup needed", run(contestants, rounds, lambda: sysroot))


def prune(directory: Path, mode: str, rounds: int, size: int) -> None:
    """Three quarters of a repository are garbage."""
    original = directory / "original"
    make_repo(original, mode, size, keep=0.25)
    objects = sum(len(files) for _, _, files in os.walk(original / "objects"))
    copy = directory / "copy"

    def fresh() -> Path:
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "-a", original, copy], check=True)
        os.sync()
        return copy

    contestants = [
        Contestant("ostree prune", lambda repo: ["ostree", "prune", "--refs-only", f"--repo={repo}"]),
        Contestant(
            "ostree-sweep prune",
            lambda repo: [BIN / "ostree-sweep", "prune", "--refs-only", f"--repo={repo}"],
        ),
    ]
    if mode == "archive":
        contestants.append(
            Contestant(
                "flatpak build-update-repo --prune",
                lambda repo: ["flatpak", "build-update-repo", "--prune", "--no-update-summary", repo],
            )
        )
    table(f"Prune of three quarters of {objects:,} objects, {mode}", run(contestants, rounds, fresh))
    shutil.rmtree(copy)
    shutil.rmtree(original)


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each contestant (default: 5)")
    parser.add_argument(
        "--directories", type=int, default=14_000, help="size of the repositories (default: 14000)"
    )
    parser.add_argument("--dir", type=Path, help="where to make them: the file system that is measured")
    arguments = parser.parse_args()
    core = core_bench()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as directory:
        no_op(Path(directory), arguments.rounds)
        crawl(Path(directory), core, arguments.rounds, arguments.directories)
        for mode in ("bare", "archive"):
            prune(Path(directory), mode, arguments.rounds, arguments.directories)


if __name__ == "__main__":
    main()
