"""The diary of a life: a line for each step, counts, and a table in the end."""

from __future__ import annotations

import time
from collections import Counter
from typing import TextIO


class Diary:
    """What happened in a life.

    Attributes:
        steps: how often each kind of step was taken.
        events: how often what is no fault happened: retries, refusals, kills.
        losses: how often something was lost that had to stay, by kind.
        differences: how often a command failed, or left something else than the reference, by kind.
    """

    def __init__(self, log: TextIO) -> None:
        """Starts a diary whose lines go to `log`."""
        self.steps: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.differences: Counter[str] = Counter()
        self._told: set[str] = set()
        self._log = log
        self._start = time.monotonic()

    def note(self, text: str) -> None:
        """Writes a line."""
        print(f"{time.monotonic() - self._start:8.2f} {text}", file=self._log, flush=True)

    def step(self, kind: str) -> None:
        """Begins a step."""
        self.steps[kind] += 1
        self._told.clear()
        self.note(f"step {self.steps.total()}: {kind}")

    def event(self, kind: str) -> None:
        """Counts something that is no fault."""
        self.events[kind] += 1
        self.note(f"  {kind}")

    def lost(self, kind: str, what: object) -> None:
        """Counts a loss, once a step."""
        self._fault(self.losses, kind, f"  LOST {kind}: {what}")

    def differs(self, kind: str, what: object) -> None:
        """Counts a difference, once a step."""
        self._fault(self.differences, kind, f"  DIFFERENT {kind}: {what}")

    def _fault(self, counts: Counter[str], kind: str, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            counts[kind] += 1
            self.note(line)

    @property
    def faults(self) -> int:
        """How many losses and differences there are."""
        return self.losses.total() + self.differences.total()

    def table(self, title: str) -> str:
        """What happened how often, in Markdown."""
        lines = [f"| {title} | times |", "|---|---|"]
        for heading, counts in (
            ("step", self.steps),
            ("event", self.events),
            ("lost", self.losses),
            ("different", self.differences),
        ):
            lines += [f"| {heading}: {kind} | {count} |" for kind, count in sorted(counts.items())]
            lines.append(f"| **{heading}, in all** | **{counts.total()}** |")
        return "\n".join(lines)
