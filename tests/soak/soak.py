"""Runs a device's life and a server's for some minutes: `soak.py --minutes=30 --seed=1`.

With `--control` the host's own tools take our place. Each life writes a log, and ends with a table. A life of
ours ends with the first loss or difference, and its files are kept; a control goes on from before the loss.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Callable, Protocol

import device
import server
from device_cleanups import CLEANUPS
from device_updates import UPDATES
from diary import Diary
from server_actors import a_round
from support.crash import FILE_SYSTEMS
from support.sysroots import PROJECT

STEPS = {**UPDATES, **CLEANUPS}
LOGS = PROJECT / "target" / "soak"


class Life(Protocol):
    """The life of a device or a server, in a directory of its own."""

    def __call__(
        self, place: Path, seed: int, diary: Diary, over: Callable[[], bool], *, control: bool
    ) -> None:
        """Runs until `over()` or, unless it is a control, the first loss or difference."""


def device_life(
    place: Path,
    seed: int,
    diary: Diary,
    over: Callable[[], bool],
    *,
    control: bool = False,
) -> None:
    """Runs a device's life until `over()` or, unless it is a control, the first loss or difference."""
    living = device.Device(place, seed, diary, control=control)
    while not over():
        deck = [step for step, times in STEPS.items() for _ in range(times)]
        living.dice.shuffle(deck)
        for step in itertools.takewhile(lambda _: not over(), deck):
            faults = diary.faults
            if control:
                living.remember()
            diary.step(step.__name__.replace("_", " "))
            step(living)
            living.look()
            if diary.faults > faults:
                if not control:
                    return
                living.start_over()


def server_life(
    place: Path,
    seed: int,
    diary: Diary,
    over: Callable[[], bool],
    *,
    control: bool = False,
) -> None:
    """Runs a server's life until `over()` or, unless it is a control, the first loss or difference."""
    living = server.Server(place, seed, diary, control=control)
    for number in itertools.takewhile(lambda _: not over(), itertools.count()):
        faults = diary.faults
        diary.note(f"round {number}")
        a_round(living, number)
        if diary.faults > faults:
            if not control:
                return
            living.start_over()


def _live(name: str, minutes: float, seed: int, *, control: bool) -> tuple[str, int]:
    """Runs one life in a file system of its own; returns its table, and the number of faults."""
    life: Life = {"device": device_life, "server": server_life}[name]
    title = f"{name}, {minutes:g} minutes, seed {seed}{', control' if control else ''}"
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{title.replace(', ', '-').replace(' ', '-')}.log"
    end = time.monotonic() + minutes * 60
    with log.open("w", encoding="utf-8") as lines, FILE_SYSTEMS[0].disk() as disk:
        diary = Diary(lines)
        life(disk, seed, diary, lambda: time.monotonic() > end, control=control)
        if diary.faults and not control:
            kept = Path(tempfile.mkdtemp(prefix=f"soak-{name}-"))
            subprocess.run(["cp", "-a", f"{disk}/.", kept], check=True)
            diary.note(f"kept in {kept}")
        # A deployment's directory is immutable.
        subprocess.run(["chattr", "-R", "-f", "-i", disk], check=False, capture_output=True)
        for path in disk.iterdir():
            shutil.rmtree(path, ignore_errors=True)
        return f"{diary.table(title)}\n\nlog: {log}\n", diary.faults


def main() -> int:
    """Runs both lives at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true", help="let the host's own tools take our place")
    parser.add_argument("--life", action="append", choices=("device", "server"), help="only this one")
    options = parser.parse_args()
    names = options.life or ["device", "server"]
    with ProcessPoolExecutor(len(names)) as processes:
        lives = [
            processes.submit(_live, name, options.minutes, options.seed, control=options.control)
            for name in names
        ]
        faults = 0
        for life in lives:
            table, found = life.result()
            print(table)
            faults += found
    return 1 if faults and not options.control else 0


if __name__ == "__main__":
    sys.exit(main())
