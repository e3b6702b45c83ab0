"""The last lines of a run: what the disk got back, and what to do next."""

from __future__ import annotations

import sys

from ..hints import TYPE_CHECKING
from ..reports import CleanupReport, did_nothing
from .table import duration, size

if TYPE_CHECKING:
    from ..reports import PruneReport


def closing_lines(report: PruneReport) -> list[str]:
    """The last lines that people read about a run."""
    lines = []
    is_prune = not isinstance(report, CleanupReport)
    # A script that reads `prune` gets the lines of `ostree prune` and no other.
    if is_prune and report.objects_pruned and sys.stdout is not None and sys.stdout.isatty():
        freed, took = size(report.disk_bytes_freed), duration(report.duration_s)
        lines.append(
            f"On disk: would free {freed}" if report.dry_run else f"On disk: {freed} freed in {took}"
        )
    if not report.dry_run and (advice := _next_step(report)) is not None:
        lines.append(f"Next: {advice}")
    return lines


def _next_step(report: PruneReport) -> str | None:
    if report.failures:
        return "remove the items named below, or what holds them, and run the command again"
    from .. import core

    # The goal that the caller set is reached.
    if report.unfinished is None or report.unfinished == core.FREE_ENOUGH:
        return None
    return "run the command again; it deletes the rest"


def stops() -> tuple[str, ...]:
    """Why a run may have stopped before it counted all objects."""
    from .. import core

    return core.OUT_OF_TIME, core.FREED_ENOUGH, core.FREE_ENOUGH


def needless(report: PruneReport) -> str | None:
    """Why a run had nothing to do from the beginning: its bounds; None: it had, or did something."""
    if report.unfinished is None or not did_nothing(report):
        return None
    from .. import core

    if report.unfinished == core.FREED_ENOUGH:
        return "Nothing was deleted: --max-freed allows nothing"
    if report.unfinished == core.FREE_ENOUGH and report.free_bytes is not None:
        return f"{size(report.free_bytes)} are free already, as asked: nothing to do"
    return None
