"""Bars beside the rows of a table, for terminals."""

from __future__ import annotations

import sys

from ..hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDEST = 30
_NARROWEST = 8


def with_bars(lines: Sequence[str], amounts: Sequence[tuple[int, int]], largest: int) -> list[str]:
    """A table's lines, with a bar of two parts behind each row if stdout is a terminal with room for it.

    Args:
        lines: the header, and a line for each row.
        amounts: each row's two amounts.
        largest: the amount that is a whole bar.
    """
    if sys.stdout is None or not sys.stdout.isatty() or largest <= 0:
        return list(lines)
    # A narrow terminal has two lines for each row, and no room.
    if len(lines) != len(amounts) + 1:
        return list(lines)
    # Slow to import.
    from shutil import get_terminal_size

    width = max(map(len, lines))
    room = min(get_terminal_size().columns - width - 2, _WIDEST)
    if room < _NARROWEST:
        return list(lines)
    solid, light = ("#", "-") if sys.stdout.encoding.lower() in ("ascii", "us-ascii") else ("█", "░")
    header, *rows = lines
    drawn = [header]
    for row, (first, second) in zip(rows, amounts):
        end = round(room * (first + second) / largest)
        middle = round(room * first / largest)
        drawn.append(f"{row.ljust(width)}  {solid * middle}{light * (end - middle)}".rstrip())
    return drawn
