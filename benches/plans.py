"""Deletion by a plan beside deletion after a crawl: time and bytes read with a cold cache. Needs root.

Of repositories of several sizes a twentieth is garbage, which is made anew for each run. An empty plan shows
what it takes to find out that nothing changed.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from repositories import SWEEP, drop_caches, make_repo

from measure import Sample, measure, median

OBJECTS_PER_DIRECTORY = 9


class Bench:
    """A repository, and the tree that becomes its garbage again and again."""

    def __init__(self, place: Path, objects: int) -> None:
        directories = objects // OBJECTS_PER_DIRECTORY
        self.repo, self.tree, self.plan = place / "repo", place / "tree", place / "plan"
        make_repo(self.repo, "bare", directories=directories * 19 // 20, files=8)
        for number in range(directories // 20):
            directory = self.tree / str(number % 30) / str(number)
            directory.mkdir(parents=True)
            for file in range(8):
                (directory / f"a-file-with-a-usual-name-{file}").write_text(f"garbage {number} {file}")

    def make_garbage(self) -> None:
        """Commits the tree, and drops the ref."""
        ostree = ["ostree", f"--repo={self.repo}"]
        subprocess.run(
            [*ostree, "commit", "--fsync=false", "-b", "dropped", f"--tree=dir={self.tree}"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run([*ostree, "refs", "--delete", "dropped"], check=True)

    def make_plan(self) -> None:
        """Plans a prune of the garbage."""
        command = [SWEEP, "plan", f"--repo={self.repo}", "--refs-only", "--depth=0", "-o", self.plan]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def commands(self) -> dict[str, list[str | Path]]:
        """The contestants."""
        return {
            "ostree prune": ["ostree", "prune", "--refs-only", "--depth=0", f"--repo={self.repo}"],
            "ostree-sweep prune": [SWEEP, "prune", "--refs-only", "--depth=0", f"--repo={self.repo}"],
            "ostree-sweep apply": [SWEEP, "apply", "--impact=full", self.plan],
        }

    def prunes(self, rounds: int) -> dict[str, list[Sample]]:
        """Deletion of the garbage, in turns, each time with a cold cache."""
        samples: dict[str, list[Sample]] = {name: [] for name in self.commands()}
        for _ in range(rounds):
            for name, command in self.commands().items():
                self.make_garbage()
                self.make_plan()
                drop_caches()
                samples[name].append(measure(command))
        return samples

    def revalidations(self, rounds: int) -> dict[str, list[Sample]]:
        """The use of a plan with nothing on it, with a cold and a warm cache."""
        self.make_plan()
        apply = self.commands()["ostree-sweep apply"]
        cold, warm = [], []
        for _ in range(rounds):
            drop_caches()
            cold.append(measure(apply))
            warm.append(measure(apply))
        return {"an empty plan, cold": cold, "an empty plan, warm": warm}


def rows(samples: dict[str, list[Sample]], objects: int) -> None:
    """Prints medians."""
    for name, runs in samples.items():
        seconds = [run.seconds for run in runs]
        middle = median(runs)
        print(
            f"| {name} | {objects:,} | {middle.seconds:.2f} s "
            f"| {min(seconds):.2f} to {max(seconds):.2f} | {middle.bytes_read / 2**20:.1f} MiB |",
            flush=True,
        )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant (default: 3)")
    parser.add_argument("--objects", type=int, nargs="+", default=[200_000, 1_000_000], help="sizes")
    parser.add_argument("--dir", type=Path, help="where to make them: the file system that is measured")
    arguments = parser.parse_args()
    print("| | objects | median | min to max | read from disk |\n|---|---:|---:|---:|---:|", flush=True)
    for objects in arguments.objects:
        with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
            bench = Bench(Path(place), objects)
            rows(bench.prunes(arguments.rounds), objects)
            rows(bench.revalidations(arguments.rounds), objects)


if __name__ == "__main__":
    main()
