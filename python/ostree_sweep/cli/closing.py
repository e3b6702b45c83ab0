"""The last lines of a run: what the disk got back, and what to do next."""

from __future__ import annotations

import sys

from ..hints import TYPE_CHECKING
from ..reports import CleanupReport
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
    if report.unfinished is not None:
        return "run the command again; it deletes the rest"
    return None
