"""Tables and sizes for people."""

from __future__ import annotations

import sys

from ..hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..locks import LockHolder
    from ..progress import Progress
    from ..running import Running
    from ..views import StoredFiles

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_CHECKSUM_LENGTH = 64
# What is cut off a text that a terminal has no room for leaves this much of it.
_NARROWEST = 12

LEFTOVERS_HINT = "'prune --leftovers' deletes them"


def size(count: int) -> str:
    """A number of bytes in IEC units, in four digits at most."""
    value, unit = float(count), 0
    # What would be rounded to 1024 is one of the next unit.
    while value >= (1023.5 if unit == 0 else 999.95) and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{value:.{0 if unit == 0 else 1}f} {_UNITS[unit]}"


def counted(count: int, what: str) -> str:
    """A number of things, each of which is called `what`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """A duration in at most two units."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{minutes} min {rest} s" if not hours else f"{hours} h {minutes_left} min"


def short(text: str) -> str:
    """The text with its checksums cut to the beginnings that `why` takes."""
    words = "".join(char if char.isalnum() else " " for char in text).split()
    for word in words:
        if len(word) == _CHECKSUM_LENGTH and not word.strip("0123456789abcdef"):
            text = text.replace(word, word[:12])
    return text


def facts_lines(facts: Mapping[str, str]) -> list[str]:
    """A line for each fact, behind its name."""
    return [f"{f'{name}:':<17}{text}" for name, text in facts.items()]


def doing(progress: Progress | Running) -> str:
    """What work is busy with, or waits for."""
    if progress.waiting_for is None:
        return progress.phase
    waiting = f"waiting for {printable(progress.waiting_for)}"
    return waiting if progress.phase == "lock" else f"{progress.phase}, {waiting}"


def printable(text: str) -> str:
    """Keeps names on disk from moving a terminal's cursor, and from looking like lines of ours."""
    return "".join(char if char.isprintable() or char == "\u00a0" else ascii(char)[1:-1] for char in text)


def leftover_files_text(found: StoredFiles | None) -> str | None:
    """What files take that only `prune --leftovers` deletes; None where there are none."""
    if found is None:
        return "unknown: this user may not read them"
    return (
        f"{size(found.disk_bytes)} in {counted(found.files, 'file')}: {LEFTOVERS_HINT}"
        if found.files
        else None
    )


def lock_text(holders: Iterable[LockHolder], otherwise: str) -> str:
    """Who holds a lock; `otherwise` if nobody is known to."""
    return ", ".join(f"{each['kind']} by {each['pid']} ({each['command']})" for each in holders) or otherwise


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: int) -> list[str]:
    """Aligned columns, the last `right` of them to the right; on a terminal no line is wider than that.

    Columns of text give way, the widest first: the middle of what is too long is left out. Where that is not
    enough, each row takes two lines.
    """
    cells = (header, *rows)
    widths = [max(map(len, column)) for column in zip(*cells)]
    left = len(widths) - right
    room = _terminal_width()
    if room is not None:
        gaps = 2 * (len(widths) - 1)
        while sum(widths) + gaps > room:
            widest = max(range(left), key=widths.__getitem__)
            if widths[widest] <= _NARROWEST:
                return [line for row in cells for line in _stacked(row, room)]
            widths[widest] -= 1
    return [
        "  ".join(
            _fit(cell, width).ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in cells
    ]


def _terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None where it's none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    # Slow to import.
    from shutil import get_terminal_size

    return get_terminal_size().columns


def _stacked(row: Sequence[str], room: int) -> list[str]:
    """A row's first cell on a line of its own, and the others below it."""
    return [_fit(row[0], room), f"  {_fit('  '.join(row[1:]), room - 2)}"]


def _fit(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    end = (width - 3) // 2
    return f"{text[: width - 3 - end]}...{text[len(text) - end :]}"
