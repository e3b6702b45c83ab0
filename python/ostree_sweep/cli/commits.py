"""The commits that a dry run found to go, for people: by ref, the ref with most of them first."""

from __future__ import annotations

import time

from ..hints import TYPE_CHECKING
from .table import short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..reports import PrunedCommit

# What fits on a screen with the lines that follow.
_MOST = 15


def commit_lines(commits: Sequence[PrunedCommit], *, everything: bool) -> list[str]:
    """A line for each commit; of many, unless `everything` is asked for, the first ones and their number."""
    counts: dict[str | None, int] = {}
    for each in commits:
        counts[each.name] = counts.get(each.name, 0) + 1
    # Those of one ref stay in their order.
    commits = sorted(commits, key=lambda each: (-counts[each.name], each.name or ""))
    shown = commits if everything else commits[:_MOST]
    lines = [_line(each) for each in shown]
    if left := len(commits) - len(shown):
        lines.append(f"Would delete {left} more commit{'' if left == 1 else 's'}; --verbose lists all")
    return lines


def _line(commit: PrunedCommit) -> str:
    facts = [commit.name or "no ref"]
    if commit.version is not None:
        facts.append(f"version {commit.version}")
    if commit.timestamp is not None:
        facts.append(_day(commit.timestamp))
    return f"Would delete commit {short(commit.commit)} ({', '.join(facts)})"


def _day(timestamp: int) -> str:
    """The day in UTC. A commit may claim any number."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(timestamp))
    except (OverflowError, OSError, ValueError):
        return f"{timestamp} s after 1970"
