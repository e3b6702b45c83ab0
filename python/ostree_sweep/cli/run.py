"""One run of the command: arguments in, one call of the package, result lines and an exit status out."""

from __future__ import annotations

from ..errors import LockTimeoutError, OperationCancelled, OstreeSweepError, PartialCleanupError
from . import output
from .arguments import parse
from .commands import COMMANDS
from .plain import UsageError
from .signals import WorkSignals

_FAILED = 1
_USAGE = 2
_PARTIAL = 3
_BUSY = 75


def run(given: list[str]) -> int:
    """Runs the command with these arguments; returns its exit status.

    Raises:
        SystemExit: `--help` or `--version` was answered.
    """
    output.follow_locale()
    with WorkSignals() as signals:
        try:
            try:
                return _run(given, signals)
            finally:
                output.flush()
        except output.OutputError as error:
            output.give_up(error)
            return _FAILED if signals.number is None else 128 + signals.number


def _run(given: list[str], signals: WorkSignals) -> int:
    try:
        options = parse(given)
    except UsageError as error:
        # What can't be parsed may still say how it wants its answer.
        output.fail(error, as_json="--json" in given)
        return _USAGE
    except OSError as error:
        raise output.OutputError(error) from None
    try:
        result = COMMANDS[options.command](options, signals)
        output.show(result, as_json=options.json)
    except (OstreeSweepError, OSError, ImportError, ValueError, OverflowError) as error:
        output.fail(error, as_json=options.json)
        return _status(error, signals)
    return result.exit_status


def _status(error: Exception, signals: WorkSignals) -> int:
    if isinstance(error, OperationCancelled) and signals.number is not None:
        return 128 + signals.number
    if isinstance(error, PartialCleanupError):
        return _PARTIAL
    if isinstance(error, LockTimeoutError):
        return _BUSY
    # The core's word for an argument out of range.
    if isinstance(error, (ValueError, OverflowError)):
        return _USAGE
    return _FAILED
