"""A prune that finds nothing to delete, in repositories of extreme shapes, beside `ostree prune`."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from crawl import DRY_RUN, PRUNE
from prune import OSTREE
from repositories import ROOT

from measure import as_it_is, median, report, run

# What it is, the shape's name in shapes.py, and its number.
SHAPES = [
    ("directories 5,000 levels deep", "deep", 5_000),
    ("500,000 entries in a directory", "wide", 500_000),
    ("a history of 100,000 commits", "long", 100_000),
    ("100,000 refs", "refs", 100_000),
    ("5,000 static deltas", "deltas", 5_000),
    ("four commits of 100 MiB", "large", 4),
]


def make(repo: Path, shape: str, number: int) -> None:
    """Makes a repository; nothing is left to be written back."""
    tree = repo.with_name("tree")
    tree.mkdir(exist_ok=True)
    (tree / "file").write_text("content", encoding="ascii")
    subprocess.run(["ostree", f"--repo={repo}", "init", "--mode=archive"], check=True)
    commit = ["ostree", f"--repo={repo}", "commit", "--branch=main", tree]
    subprocess.run(commit, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["/usr/bin/python3", ROOT / "benches/shapes.py", repo, shape, str(number)], check=True)
    # What was only needed to begin with is garbage now.
    subprocess.run(OSTREE.command(repo), check=True, stdout=subprocess.DEVNULL)
    os.sync()


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="counted runs of each contestant (default: 3)")
    parser.add_argument("--shapes", nargs="*", default=[name for _, name, _ in SHAPES])
    parser.add_argument(
        "--dir", type=Path, help="where to make repositories: the file system that is measured"
    )
    parser.add_argument("--write", action="store_true", help="write to docs/performance.md")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(dir=arguments.dir) as place,
        report("extremes", write=arguments.write),
    ):
        print("| | | time | times faster | peak memory |")
        print("|---|---|---:|---:|---:|")
        for title, shape, number in SHAPES:
            if shape not in arguments.shapes:
                continue
            repo = Path(place, "repo")
            make(repo, shape, number)
            samples = run([OSTREE, PRUNE, DRY_RUN], arguments.rounds, as_it_is(repo))
            shutil.rmtree(repo)
            base = median(samples[OSTREE.name])
            for name, runs in samples.items():
                middle = median(runs)
                print(
                    f"| {title} | {name} | {middle.seconds:.3f} s "
                    f"| {base.seconds / middle.seconds:.1f} | {middle.peak_kib / 1024:.1f} MiB |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
