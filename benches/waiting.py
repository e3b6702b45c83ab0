"""How long others wait: `ostree commit`, over and over, alone and beside a prune of 150,000 objects.

A process that wants a repository's lock waits for it in one of two ways: asleep in the kernel, with
`lock-timeout-secs=-1`, or, by default, trying once a second. Both are measured, beside `ostree prune` and
beside `ostree-sweep prune` in turns. Each prune gets a fresh copy, on which some commits were made alone
just before.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from repositories import SWEEP, make_repo

# Of each directory's nine objects, all but some fifty directories' go.
DIRECTORIES = 17_000
KEPT = 0.003

# How a process waits for a lock, and the setting that makes it so.
WAITERS = {"asleep in the kernel": "-1", "trying once a second": "30"}

PRUNES: dict[str, Sequence[str | Path]] = {
    "ostree prune": ["ostree", "prune", "--refs-only"],
    "ostree-sweep prune": [SWEEP, "prune", "--refs-only", "--json"],
}


@dataclasses.dataclass
class Commits:
    """Commits that were made one after the other.

    Attributes:
        seconds: how long each one took, those that failed too.
        failed: how many gave up waiting.
        held_s: the longest that a prune beside them held the exclusive lock, if it tells.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: int = 0
    held_s: float = 0.0

    def commit(self, repo: Path, tree: Path) -> None:
        """Makes one more."""
        command = ["ostree", "commit", f"--repo={repo}", "--branch=others", f"--tree=dir={tree}"]
        start = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        self.seconds.append(time.perf_counter() - start)
        if done.returncode != 0:
            if "Locking repo" not in done.stderr:
                raise SystemExit(f"{command}: {done.stderr}")
            self.failed += 1

    def add(self, others: Commits) -> None:
        """Adds what was measured in another round."""
        self.seconds += others.seconds
        self.failed += others.failed
        self.held_s = max(self.held_s, others.held_s)


def alone(repo: Path, tree: Path, count: int) -> Commits:
    commits = Commits()
    for _ in range(count):
        commits.commit(repo, tree)
    return commits


def beside(prune: Sequence[str | Path], repo: Path, tree: Path) -> Commits:
    """Commits for as long as a prune of the same repository runs."""
    commits = Commits()
    with subprocess.Popen([*prune, f"--repo={repo}"], stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            commits.commit(repo, tree)
        printed = running.stdout.read() if running.stdout else ""
    if running.returncode != 0:
        raise SystemExit(f"{prune}: {running.returncode}\n{printed}")
    if "--json" in prune:
        commits.held_s = json.loads(printed)["exclusive_lock_longest_s"]
    return commits


def measure(directory: Path, original: Path, tree: Path, setting: str, rounds: int) -> dict[str, Commits]:
    """Measures all that go with one way of waiting."""
    measured = {name: Commits() for name in ("alone", *PRUNES)}
    for _ in range(rounds):
        for name, prune in PRUNES.items():
            repo = directory / "copy"
            subprocess.run(["cp", "-a", original, repo], check=True)
            # The one section that there is so far is the right one.
            with (repo / "config").open("a") as config:
                config.write(f"lock-timeout-secs={setting}\n")
            os.sync()
            measured["alone"].add(alone(repo, tree, count=20))
            measured[name].add(beside(prune, repo, tree))
            shutil.rmtree(repo)
    return measured


def table(title: str, measured: dict[str, Commits]) -> None:
    """Prints what was measured, and what it adds to a commit alone."""
    print(f"\n### One `ostree commit`, {title}\n")
    print("| | commits | median | longest | added: median | longest | gave up | prune's longest hold |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    usual = statistics.median(measured["alone"].seconds)
    for name, commits in measured.items():
        median, longest = statistics.median(commits.seconds), max(commits.seconds)
        held = f"{commits.held_s * 1000:.0f} ms" if commits.held_s else "-"
        times = (median, longest, median - usual, longest - usual)
        cells = [
            name,
            len(commits.seconds),
            *(f"{time * 1000:.0f} ms" for time in times),
            commits.failed,
            held,
        ]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each prune (default: 3)")
    parser.add_argument(
        "--directories",
        type=int,
        default=DIRECTORIES,
        help="size of the repository (default: %(default)s)",
    )
    parser.add_argument("--dir", type=Path, help="where to make it: the file system that is measured")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        directory = Path(place)
        tree = directory / "tree"
        for number in range(10):
            (tree / str(number)).mkdir(parents=True)
            (tree / str(number) / "file").write_text(f"{number}")
        original = directory / "original"
        kept = int(arguments.directories * KEPT)
        garbage = arguments.directories - kept
        objects = make_repo(original, "bare", directories=kept, files=8, garbage=garbage)
        print(f"{objects:,} objects, of which next to all go")
        for title, setting in WAITERS.items():
            table(f"waiting {title}", measure(directory, original, tree, setting, arguments.rounds))


if __name__ == "__main__":
    main()
