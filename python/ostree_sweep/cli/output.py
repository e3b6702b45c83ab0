"""What the command prints: the lines that `ostree prune` prints, or one JSON object."""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import nullcontext

from ..errors import OperationCancelled, OstreeSweepError, PartialCleanupError
from ..frozen import dataclass, to_dict
from ..hints import TYPE_CHECKING
from ..reports import CleanupReport, PruneReport
from . import service
from .bar import terminal_bar
from .closing import closing_lines, needless, stops
from .colour import painted
from .commits import commit_lines
from .table import duration, printable, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any

    from ..hints import ProgressCallback
    from ..reports import PrunedItem


@dataclass(frozen=True)
class Result:
    """A command's outcome, for people and for programs.

    Attributes:
        lines: for people.
        data: for programs.
        message_id: by which they find it in the journal.
        tone: of the first line, for `painted`; None: no colour.
        exit_status: the command's exit status.
    """

    lines: list[str]
    data: dict[str, Any]
    message_id: str | None = None
    tone: str | None = None
    exit_status: int = 0


class OutputError(Exception):
    """Standard output can't be written.

    Attributes:
        nobody_reads: its reader is gone, as `head` is after some lines.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write standard output: {error.strerror}")
        self.nobody_reads: bool = error.errno == errno.EPIPE


def report_result(
    report: PruneReport,
    *,
    commit_only: bool = False,
    tell_free: bool = False,
    max_freed: int | None = None,
) -> Result:
    """The outcome of a cleanup or a prune.

    Args:
        report: the outcome.
        commit_only: the run looked at commits only.
        tell_free: tell how much is free, even if the run was not stopped.
        max_freed: what a run may free, in bytes.
    """
    message_id = service.CLEANED_UP if isinstance(report, CleanupReport) else service.PRUNED
    if (reason := needless(report)) is not None:
        return Result([reason], report.to_dict(), message_id)
    lines = []
    if isinstance(report, CleanupReport):
        if not report.ran:
            return Result(["No cleanup needed."], report.to_dict(), service.NOT_NEEDED)
        verb = "Would remove" if report.dry_run else "Removed"
        lines += [f"{verb} deployment: {name}" for name in report.deployments_removed]
        lines += [f"{verb} container layer: {digest}" for digest in report.container_layers_removed]
    elif not report.by_plan:
        kind = " (commit only)" if commit_only else ""
        total = str(report.objects_total)
        if report.unfinished in stops() and not report.failures:
            total = f"{total} counted so far" if report.objects_total else "unknown"
        lines.append(f"Total{kind} objects: {total}")
    lines.append(_freed(report, is_complete=_is_complete(report)))
    if report.deltas_pruned:
        verb = "Would delete" if report.dry_run else "Deleted"
        lines.append(f"{verb} {report.deltas_pruned} static deltas")
    if report.tmp_pruned or report.tmp_bytes_freed:
        verb = "Would remove" if report.dry_run else "Removed"
        lines.append(f"{verb} from tmp: {report.tmp_pruned} items, {size(report.tmp_bytes_freed)}")
    if report.leftovers_pruned:
        verb = "Would delete" if report.dry_run else "Deleted"
        lines.append(f"{verb} leftovers: {report.leftovers_pruned} files")
    if report.plan_refused is not None:
        lines.append(
            f"The plan {'would not be' if report.dry_run else 'was not'} used: {report.plan_refused}"
        )
    if report.dry_run and report.unfinished is not None and max_freed is not None:
        lines.append(f"At most {_size(report, max_freed)} of it would be freed in one run (--max-freed)")
    elif report.unfinished is not None:
        lines.append(f"Something {'would be' if report.dry_run else 'is'} left: {report.unfinished}")
    if (tell_free or report.unfinished is not None) and report.free_bytes is not None and not report.dry_run:
        lines.append(f"Free now: {size(report.free_bytes)}")
    lines += closing_lines(report)
    return Result(lines, report.to_dict(), message_id)


def show(result: Result, *, as_json: bool) -> None:
    """Prints an outcome on stdout; the journal gets it as one message with the figures."""
    if as_json:
        _print_lines([_json(result.data)])
    elif not _logged(result.lines, result.message_id, result.data):
        _print_lines(result.lines, result.tone)


def progress_display(*, bar: bool) -> AbstractContextManager[ProgressCallback | None]:
    """Gives a callback that shows the progress to the service manager, or on a terminal by a bar."""
    if service.Status.is_wanted():
        return nullcontext(service.Status())
    return terminal_bar() if bar else nullcontext()


def item_printer(options: argparse.Namespace) -> Callable[[PrunedItem], None] | None:
    """With `--verbose`, what prints on stderr each item that goes, and why: as lines, or as JSON objects."""
    if not options.verbose:
        return None

    def show_item(item: PrunedItem) -> None:
        if options.json:
            say(_json(to_dict(item)))
        else:
            say(printable(f"{item.name}  {item.reason}"))

    return show_item


def show_details(report: PruneReport, options: argparse.Namespace) -> None:
    """Prints warnings on stderr, and what `--verbose` adds; JSON has all that anyway."""
    if options.json:
        return
    for warning in report.warnings:
        warn(warning)
    # A script that reads `prune` gets the lines of `ostree prune` and no other.
    if options.verbose or (sys.stdout is not None and sys.stdout.isatty()):
        for line in commit_lines(report.pruned_commits, everything=options.verbose):
            say(printable(line))
    if not options.verbose:
        return
    verb = "would be freed" if report.dry_run else "freed"
    say(f"on disk: {size(report.disk_bytes_freed)} {verb}")
    if report.by_plan:
        say("what was to go came from a plan")
    for name, tally in report.by_type.items():
        if not tally.total:
            continue
        say(f"{name}: {tally.pruned} of {tally.total}, {size(tally.bytes_freed)}")


def fail(error: Exception, *, as_json: bool) -> None:
    """Prints an error: as JSON on stdout, or for people on stderr, with the report that it may carry."""
    report: PruneReport | None = getattr(error, "report", None)
    if as_json:
        data: dict[str, Any] = {"error": {"type": type(error).__name__, "message": _message(error)}}
        if report is not None:
            data["report"] = report.to_dict()
        _print_lines([_json(data)])
        return
    for warning in report.warnings if report is not None else ():
        warn(warning)
    done, failed = _failure_lines(error)
    data = {} if report is None else report.to_dict()
    priority = service.INFO if isinstance(error, OperationCancelled) else service.ERROR
    if not _logged([*done, *failed], _failure_id(error), data, priority=priority):
        _print_lines(done)
        for line in failed:
            _print_error(line)


def _failure_lines(error: Exception) -> tuple[list[str], list[str]]:
    """What was done in spite of an error, and what was not."""
    if isinstance(error, PartialCleanupError):
        failures = [f"cannot remove {failure.path}: {failure.error}" for failure in error.report.failures]
        return report_result(error.report).lines, failures
    if isinstance(error, OperationCancelled) and error.report is not None:
        return [], [f"{error}: {_freed(error.report, is_complete=False)}"]
    report: PruneReport | None = getattr(error, "report", None)
    done = [] if report is None or report.objects_pruned == 0 else [_freed(report, is_complete=False)]
    return done, [_message(error)]


def _failure_id(error: Exception) -> str:
    if isinstance(error, PartialCleanupError):
        return service.INCOMPLETE
    if isinstance(error, OperationCancelled):
        return service.CANCELLED
    return service.FAILED


def _logged(
    lines: list[str], message_id: str | None, data: dict[str, Any], *, priority: int = service.INFO
) -> bool:
    """Writes lines to the journal, if that is where they would go anyway; says whether it did."""
    if not service.stdout_is_journal():
        return False
    return service.log("\n".join(map(printable, lines)), message_id, data, priority=priority)


def follow_locale() -> None:
    """Makes stdout follow the locale as `ostree` does: in the C locale, a no-break space is a `?`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = "ascii" if _in_c_locale() else None
        sys.stdout.reconfigure(encoding=encoding, errors="replace")


def flush() -> None:
    """Writes out what is printed, so that a failure shows now.

    Raises:
        OutputError: it can't be written.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise OutputError(error) from None


def give_up(error: OutputError) -> None:
    """Reports that standard output can't be written, unless its reader has gone; discards what is left."""
    _discard(1)
    if not error.nobody_reads:
        _print_error(str(error))


def _discard(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def say(line: str) -> None:
    """Prints a line on stderr, while that is possible: no work is stopped because nobody reads about it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _discard(2)


def _in_c_locale() -> bool:
    """Whether the command was started in the C locale, which Python replaces by UTF-8 (PEP 538 and 540)."""
    # What `locale` offers, which is slow to import.
    from _locale import LC_CTYPE, setlocale

    if setlocale(LC_CTYPE) == "C":
        return True
    replaced = f"LC_CTYPE={os.environ.get('LC_CTYPE')}".encode()
    try:
        with open("/proc/self/environ", "rb") as file:
            return "LC_CTYPE" in os.environ and replaced not in file.read().split(b"\0")
    except OSError:
        return False


def _is_complete(report: PruneReport) -> bool:
    return report.unfinished is None and not report.failures


def _freed(report: PruneReport, *, is_complete: bool) -> str:
    if report.objects_pruned == 0:
        if is_complete:
            return "No unreachable objects"
        if report.dry_run:
            return "No objects would be deleted"
        freed = f", {size(report.disk_bytes_freed)} freed" if report.disk_bytes_freed else ""
        return f"No objects were deleted{freed}"
    is_cleanup = isinstance(report, CleanupReport)
    freed = _size(
        report, report.disk_bytes_freed if is_cleanup else report.bytes_freed - report.tmp_bytes_freed
    )
    if report.dry_run:
        return f"Would delete: {report.objects_pruned} objects, freeing {freed}"
    took = f" in {duration(report.duration_s)}" if isinstance(report, CleanupReport) else ""
    return f"Deleted {report.objects_pruned} objects, {freed} freed{took}"


def _size(report: PruneReport, count: int) -> str:
    """A size as the report's lines show it."""
    if isinstance(report, CleanupReport):
        return size(count)
    # Scripts read the line that `ostree prune` prints.
    from .. import core

    return core.format_size(count)


def _message(error: Exception) -> str:
    # Our own messages name the path.
    if isinstance(error, OSError) and not isinstance(error, OstreeSweepError) and error.strerror is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _json(data: dict[str, Any]) -> str:
    # Slow to import.
    import json

    return json.dumps(data)


def _print_lines(lines: list[str], tone: str | None = None) -> None:
    try:
        for number, line in enumerate(lines):
            print(painted(printable(line), tone if number == 0 else None, sys.stdout))
    except OSError as error:
        raise OutputError(error) from None
    flush()


def _print_error(message: str) -> None:
    say(f"{painted('error:', 'bad', sys.stderr)} {printable(message)}")


def warn(message: str) -> None:
    """Prints a warning on stderr."""
    say(f"{painted('warning:', 'attention', sys.stderr)} {printable(message)}")
