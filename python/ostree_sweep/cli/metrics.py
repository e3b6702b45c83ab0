"""Metrics for the textfile collector of Prometheus' node_exporter."""

from __future__ import annotations

import contextlib
import os
import time

from ..hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..reports import CleanupReport

    Metric = tuple[str, str, float]


def of_cleanup(report: CleanupReport) -> list[Metric]:
    """What a cleanup did."""
    return [
        ("last_cleanup_timestamp_seconds", "When the last cleanup ended.", time.time()),
        ("last_cleanup_duration_seconds", "How long it took.", report.duration_s),
        ("last_cleanup_freed_bytes", "What it freed on disk.", report.disk_bytes_freed),
        ("last_cleanup_freed_objects", "How many objects it deleted.", report.objects_pruned),
        ("last_cleanup_failures", "How many items it could not remove.", len(report.failures)),
        ("last_cleanup_complete", "Whether nothing was left.", not (report.failures or report.unfinished)),
        *_of_holds(report),
    ]


def _of_holds(report: CleanupReport) -> Iterable[Metric]:
    """For how long a cleanup held each lock."""
    locks = {
        "exclusive": "the repository's exclusive lock",
        "shared": "the repository's shared lock",
        "sysroot": "the sysroot's lock",
    }
    kinds = {"longest": "at most", "total": "in all"}
    for lock, its_name in locks.items():
        for kind, how in kinds.items():
            yield (
                f"last_cleanup_{lock}_lock_{kind}_seconds",
                f"For how long it held {its_name} {how}.",
                getattr(report, f"{lock}_lock_{kind}_s"),
            )


def of_status(status: dict[str, Any]) -> list[Metric]:
    """What there is to do. What can't be told now is left out."""
    found: list[Metric] = [
        ("stamp_pending", "Whether a cleanup is due.", status["stamp"] is not None),
        ("deployments", "How many deployments there are.", len(status["deployments"])),
    ]
    if "bytes" in status["reclaimable"]:
        reclaimable = status["reclaimable"]
        found += [
            ("reclaimable_bytes", "What a cleanup would free on disk.", reclaimable["disk_bytes"]),
            ("reclaimable_objects", "How many objects it would delete.", reclaimable["objects"]),
        ]
    return found


def write(path: str, sysroot: str, metrics: Iterable[Metric]) -> None:
    """Replaces a file by one with these metrics, in one go.

    Raises:
        OSError: it can't be written.
    """
    label = sysroot.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    lines = []
    for name, summary, value in metrics:
        name = f"ostree_sweep_{name}"
        lines += [
            f"# HELP {name} {summary}",
            f"# TYPE {name} gauge",
            f'{name}{{sysroot="{label}"}} {float(value)!r}',
        ]
    text = "".join(f"{line}\n" for line in lines)
    import tempfile

    # The collector reads files that end in .prom only.
    descriptor, scratch = tempfile.mkstemp(prefix=".ostree-sweep-", dir=os.path.dirname(path) or ".")
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
            os.fchmod(file.fileno(), 0o644)
        os.replace(scratch, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(scratch)
        raise
