"""Holds the mutants that survived a run of cargo-mutants against the list of those that may.

    check.py OUTPUT-DIRECTORY SURVIVORS

Fails with each that is in only one of the two. Of a run over some of the files, only theirs are compared.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

_PLACE = re.compile(r"^(\S+?):\d+:\d+: ")


def without_lines(mutant: str) -> str:
    """A mutant's name that stays as it is when lines move."""
    return _PLACE.sub(r"\1: ", mutant)


def main(output: Path, listed: Path) -> int:
    """Compares; returns the exit status."""
    outcomes = json.loads((output / "mutants.out" / "outcomes.json").read_text(encoding="utf-8"))
    files, survived = set(), set()
    for outcome in outcomes["outcomes"]:
        if outcome["scenario"] != "Baseline":
            mutant = outcome["scenario"]["Mutant"]
            files.add(mutant["file"])
            if outcome["summary"] == "MissedMutant":
                survived.add(without_lines(mutant["name"]))
    lines = listed.read_text(encoding="utf-8").splitlines()
    allowed = {line.split("  ")[0] for line in lines if line and not line.startswith("#")}
    allowed = {mutant for mutant in allowed if mutant.partition(": ")[0] in files}
    for mutant in sorted(survived - allowed):
        print(f"survived: {mutant}")
    for mutant in sorted(allowed - survived):
        print(f"listed as a survivor, and noticed: {mutant}")
    viable = outcomes["caught"] + outcomes["missed"] + outcomes["timeout"]
    print(f"{outcomes['caught'] + outcomes['timeout']} of {viable} viable mutants were noticed")
    return int(survived != allowed)


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
