"""Dates, held against `ostree`'s own reading of them: a date that is read later lets more go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.sysroots import output

if TYPE_CHECKING:
    from pathlib import Path

# `ostree` and we ask for the time at different moments.
CLOCK_S = 60

# A change of daylight saving time on the way, or "a" (a military time zone): read as up to two hours earlier,
# which keeps more.
EARLIER_S = 2 * 3600 + CLOCK_S

REFUSED = {
    # Midnight to `ostree`; most probably a variable that is not set.
    "",
    " ",
    "rubbish",
    "midnight",
    "noon yesterday",
    "yesterday noon",
    "2020-02-29 noon",
    'TZ="Asia/Tokyo" yesterday',
    'TZ="Asia/Tokyo" 2020-02-29',
    "2020-02-29 12:30 2 hours ago",
}

# There was no such time: clocks were put forward.
REFUSED_BY_OSTREE = {"2020-03-29 02:30"}

SPELLINGS = [
    "",
    " ",
    *"""
now | today | yesterday | midnight | noon yesterday | yesterday noon | 10:00 yesterday | yesterday 10:00 |
yesterday 10pm | 1 day ago | 2 days ago | a day ago | 1 week ago | 2 weeks ago | last week | last month |
last year | last Monday | last friday | 1 month ago | 3 months ago | 1 year ago | 10 years ago |
1 hour ago | 90 minutes ago | 30 min ago | 45 seconds ago | -2 days | -1 week | -1 hour | 1 fortnight ago |
fortnight ago | 1 day ago 12:00 | 12:00 1 day ago | 2 days ago 3 hours ago | 1 month ago 2 days ago |
2020-02-29 | 2020-02-29 12:30 | 2020-02-29 12:30:15 | 2020-02-29T12:30:15 | 2020-02-29T12:30:15Z |
2020-02-29T12:30:15+02:00 | 2020-02-29 12:30:15 +0530 | 2020-02-29 12:30 UTC | 2020-02-29 12:30 EST |
2020-06-15 12:30 | 20200229 | 20200229 1230 | 2/29/2020 | 2/29/20 | 29 Feb 2020 | Feb 29 2020 |
Feb 29, 2020 | 29 February 2020 | 29-Feb-2020 | October 25 1985 | October 25 1985 21:21 |
Sat, 29 Feb 2020 10:00:00 +0100 | Sat Feb 29 10:00:00 2020 | Sat Feb 29 10:00:00 UTC 2020 | @0 | @1234567 |
@1234567.5 | 2020-02-29 1 day ago | 2020-03-01 -1 day | 2020-03-31 1 month ago | 2020-02-29 1 year ago |
2020-02-29 12:30 2 hours ago | 2020-02-29 3pm | 2020-02-29 3 pm | 2020-02-29 12am | 2020-02-29 noon |
2020-02-29 00:00 | 2020-03-29 02:30 | 2020-10-25 02:30 | TZ="Asia/Tokyo" yesterday |
TZ="Asia/Tokyo" 2020-02-29 | 2020-02-29 12:30 Z | rubbish
""".replace("\n", " ")
    .strip()
    .split(" | "),
]

# A slip of the finger: `ostree` refuses most, and reads the rest in a military time zone.
MISTYPED = (
    """
yesterdayy | yesterdayx | yesterdayc | todayy | nowz | nowt | tomorroww | 2 weeks agoo | 3 days agoe |
1 day agof | 1 hour agoj | 2 days agoo 3 hours ago | 2 weekss ago | 2 wekes ago | 2020-02-29 12amu |
12:30 amf | 10pme yesterday | 2026-11-20q | 2026-11-20w | 2020-02-29 12:30 p | 2w | -w2 | w | J |
o1 year ago | j2/29/20 | Feb 9n 2020 | 9n minutes ago | 1 day ago t12:00 | T2/29/2020 |
October 25 1985T21:21 | 20200229T1230 | 2020-02-29T12 | 2020-02-29Tt12:30 | 2x20-02-29 |
2020-02-29 12:30:1y | 2020-02-29 12:30 UTCc | last mondayy | 1 montha ago | 29 Febb 2020
""".replace("\n", " ")
    .strip()
    .split(" | ")
)

READ = """
import sys
from ostree_sweep.retention import seconds
for text in sys.stdin.read().split("\\n"):
    try:
        print(seconds(text))
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_each_spelling_is_read_as_by_ostree_or_refused(tmp_path: Path, zone: str) -> None:
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    output("ostree", f"--repo={repo}", "init", "--mode=archive")
    environment = {**os.environ, "TZ": zone}
    ours = read_by_us(SPELLINGS, environment)
    refused, differing = set(), []
    for text, read in zip(SPELLINGS, ours):
        if not read.isdigit():
            assert re.match(r"Could not parse|'.*' is .* in the future", read), text
            refused.add(text)
            continue
        theirs = read_by_ostree(repo, tree, text, environment)
        if theirs is None:
            assert text in REFUSED_BY_OSTREE
        elif not theirs - EARLIER_S <= int(read) <= theirs + CLOCK_S:
            differing.append((text, int(read), theirs))
    assert not differing, "\n".join(map(str, differing))
    assert refused <= REFUSED, refused - REFUSED


def test_mistyped_dates_are_refused(tmp_path: Path) -> None:
    """Read in another time zone, they let more or less go than was meant."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    output("ostree", f"--repo={repo}", "init", "--mode=archive")
    environment = {**os.environ, "TZ": "UTC"}
    assert read_by_us(MISTYPED, environment) == [f"Could not parse '{text}'" for text in MISTYPED]
    for text in ("yesterdayy", "2 weeks agoo", "nowz", "2020-02-29 12amu"):
        assert read_by_ostree(repo, tree, text, environment) is None


def read_by_us(texts: list[str], environment: dict[str, str]) -> list[str]:
    """The dates in seconds since 1970, or what is told of them."""
    return subprocess.run(
        [sys.executable, "-c", READ],
        input="\n".join(texts),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def read_by_ostree(repo: Path, tree: Path, text: str, environment: dict[str, str]) -> int | None:
    """The date of a commit that `ostree` makes with it, in seconds since 1970."""
    commit = ["ostree", f"--repo={repo}", "commit", "--orphan", f"--timestamp={text}", str(tree)]
    done = subprocess.run(commit, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    (shown,) = re.findall(
        r", uint64 (\d+),", output("ostree", f"--repo={repo}", "show", "--raw", done.stdout.strip())
    )
    return int(shown)
