"""Time and memory of a crawl against the number of objects, with plots. Nothing is deleted.

Files are symlinks, which need no block of the disk; a crawl opens none.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from crawl import CORE, DRY_RUN, FLOOR, OSTREE
from repositories import make_repo

from measure import REPORT, Sample, as_it_is, median, report, run

OBJECTS_PER_DIRECTORY = 9
SIZES = [10_000, 100_000, 1_000_000, 5_000_000]

# From here on a second run would tell nothing new for its minutes.
LARGE = 2_000_000

CONTESTANTS = [FLOOR, CORE, DRY_RUN, OSTREE]


def grow(place: Path, sizes: Sequence[int], rounds: int) -> dict[int, dict[str, Sample]]:
    """Measures all contestants at all sizes."""
    measured = {}
    for size in sizes:
        repo = place / "repo"
        objects = make_repo(repo, "bare", directories=size // OBJECTS_PER_DIRECTORY, files=8, symlinks=1)
        if size < LARGE:
            samples = run(CONTESTANTS, rounds, as_it_is(repo))
        else:
            run(CONTESTANTS[:1], 1, as_it_is(repo))
            samples = run(CONTESTANTS, 1, as_it_is(repo), warm_up=False)
        measured[objects] = {name: median(runs) for name, runs in samples.items()}
        shutil.rmtree(repo)
    return measured


def table(measured: dict[int, dict[str, Sample]]) -> None:
    """Prints time and memory for each size."""
    print("| objects | | time | an object | times faster | peak memory | beyond 25 MiB, an object |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for objects, samples in measured.items():
        base = samples[OSTREE.name]
        for name, sample in samples.items():
            beyond = max(0, sample.peak_kib * 1024 - (25 << 20)) / objects
            print(
                f"| {objects:,} | {name} | {sample.seconds:.3f} s | {sample.seconds / objects * 1e6:.2f} µs "
                f"| {base.seconds / sample.seconds:.1f} | {sample.peak_kib / 1024:.1f} MiB | {beyond:.1f} B |"
            )


def plot(title: str, path: Path, measured: dict[int, dict[str, float]]) -> None:
    """Draws both axes logarithmic."""
    import pygal

    chart = pygal.XY(
        title=title,
        x_title="objects",
        logarithmic=True,
        # pygal's abscissa is linear: it gets logarithms, and tells what they are of.
        x_value_formatter=lambda x: f"{round(10**x):,}",
        x_labels=range(math.floor(math.log10(min(measured))), math.ceil(math.log10(max(measured))) + 1),
        js=[],
        style=pygal.style.CleanStyle,
    )
    for name in next(iter(measured.values())):
        chart.add(
            name.replace("`", ""), [(math.log10(size), values[name]) for size, values in measured.items()]
        )
    chart.render_to_file(path)


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="counted runs of each contestant (default: 3)")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="numbers of objects, about")
    parser.add_argument(
        "--dir", type=Path, help="where to make repositories: the file system that is measured"
    )
    parser.add_argument("--write", action="store_true", help="write to docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        measured = grow(Path(place), arguments.sizes, arguments.rounds)
    with report("growth", write=arguments.write):
        table(measured)
    if arguments.write:
        seconds = {
            size: {name: sample.seconds for name, sample in samples.items()}
            for size, samples in measured.items()
        }
        memory = {
            size: {name: sample.peak_kib / 1024 for name, sample in samples.items()}
            for size, samples in measured.items()
        }
        plot("Seconds for a crawl", REPORT.parent / "growth-time.svg", seconds)
        plot("Peak memory of a crawl, MiB", REPORT.parent / "growth-memory.svg", memory)


if __name__ == "__main__":
    main()
