"""Runs contestants in turns, so that a change in the machine's speed meets all alike, and compares them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path

from repositories import ROOT, core

REPORT = ROOT / "docs" / "performance.md"

# In units of these the kernel counts what was read.
BLOCK = 512

Command = Sequence["str | Path"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run: wall-clock seconds, peak resident memory in KiB, and bytes read from the disk."""

    seconds: float
    peak_kib: int
    bytes_read: int


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A command that does the work on a repository."""

    name: str
    command: Callable[[Path], Command]


def measure(command: Command) -> Sample:
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
    if command[0] == core():
        # It tells its own time, without the start of the process.
        seconds, peak_kib = printed.split()
        return Sample(float(seconds), int(peak_kib), usage.ru_inblock * BLOCK)
    return Sample(elapsed, usage.ru_maxrss, usage.ru_inblock * BLOCK)


def run(
    contestants: Sequence[Contestant],
    rounds: int,
    prepare: Callable[[], AbstractContextManager[Path]],
    *,
    warm_up: bool = True,
) -> dict[str, list[Sample]]:
    """Runs all contestants in turns; `prepare` gives each run its repository."""
    samples: dict[str, list[Sample]] = {contestant.name: [] for contestant in contestants}
    for number in range(rounds + warm_up):
        for contestant in contestants:
            with prepare() as repo:
                sample = measure(contestant.command(repo))
            if number >= warm_up:
                samples[contestant.name].append(sample)
    return samples


def as_it_is(repo: Path) -> Callable[[], AbstractContextManager[Path]]:
    """Gives each run the same repository."""
    return lambda: contextlib.nullcontext(repo)


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each figure."""
    return Sample(
        statistics.median(sample.seconds for sample in samples),
        int(statistics.median(sample.peak_kib for sample in samples)),
        int(statistics.median(sample.bytes_read for sample in samples)),
    )


def table(title: str, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Prints medians, their spread, and how each compares with the first contestant."""
    print(f"\n**{title}**\n")
    print("| | median | min to max | times faster | peak memory |")
    print("|---|---:|---:|---:|---:|")
    base = median(next(iter(samples.values())))
    for name, runs in samples.items():
        middle = median(runs)
        times = [sample.seconds for sample in runs]
        print(
            f"| {name} | {middle.seconds:.3f} s | {min(times):.3f} to {max(times):.3f} "
            f"| {base.seconds / middle.seconds:.1f} | {middle.peak_kib / 1024:.1f} MiB |",
            flush=True,
        )


@contextlib.contextmanager
def report(part: str, *, write: bool) -> Iterator[None]:
    """What is printed becomes that part of the report, if it's to be written, instead of what stood there."""
    if not write:
        yield
        return
    printed = io.StringIO()
    with redirect_stdout(printed):
        yield
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    text, count = re.subn(
        f"{re.escape(begin)}.*{re.escape(end)}",
        lambda _: f"{begin}\n\n{printed.getvalue().strip()}\n\n{end}",
        REPORT.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{REPORT}: it should have one part {part}, and has {count}")
    REPORT.write_text(text)
