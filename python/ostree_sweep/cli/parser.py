"""A parser that raises, and suggests the name that was probably meant."""

from __future__ import annotations

import argparse
import os
import re
import sys

from ..hints import TYPE_CHECKING
from .plain import SUPPRESS, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    from _typeshed import SupportsWrite


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the examples, and leaves each option's name and help on one line where it can."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)


class _Suppressing:
    """Takes `plain.SUPPRESS`, where argparse knows its own `SUPPRESS` by identity."""

    def add_argument(self, *names: Any, **how: Any) -> argparse.Action:  # noqa: ANN401 - as argparse has them
        """Defines an option."""
        if how.get("default") is SUPPRESS:
            how["default"] = argparse.SUPPRESS
        action: argparse.Action = super().add_argument(*names, **how)  # type: ignore[misc]
        return action


class _Group(_Suppressing, argparse._ArgumentGroup):  # noqa: SLF001 - argparse has no other way
    """Options under a heading of help."""


class ArgumentParser(_Suppressing, argparse.ArgumentParser):
    """Raises instead of printing: main knows whether JSON is asked for."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - as argparse has them
        super().__init__(allow_abbrev=False, **options)
        self._optionals.title = "common options"

    def add_argument_group(self, *arguments: Any, **options: Any) -> argparse._ArgumentGroup:  # noqa: ANN401
        """A group of options under a heading."""
        group = _Group(self, *arguments, **options)
        self._action_groups.append(group)
        return group

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - as argparse
        """Parses; what the command does not know is told as its own, not as one of all commands."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            parsers = self._commands()
            parsers[found.command].error(_unknown(found, unknown, parsers))
        return found

    def error(self, message: str) -> NoReturn:
        """Stops at a wrong argument."""
        raise UsageError(f"{self._with_nearest(message)} (see {self.prog} --help)")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Unlike argparse's own, it does not hide that help can't be written."""
        (sys.stdout if file is None else file).write(message)

    def _commands(self) -> dict[str, ArgumentParser]:
        """The parsers of the commands; none in such a parser."""
        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - argparse has no other way
        return commands[0].choices if commands else {}

    def _with_nearest(self, message: str) -> str:
        """A command that is unknown, with the one that was probably meant."""
        wrong = re.match(r"argument COMMAND: invalid choice: '([^']*)'", message)
        if wrong is None:
            return message
        return f"there is no command '{wrong[1]}'{_did_you_mean(wrong[1], self._commands())}"

    def options(self) -> list[str]:
        """The names of all options."""
        return list(self._option_string_actions)


# For the other kind of place.
_COUNTERPARTS = {
    ("prune", "--sysroot"): "for a sysroot: ostree-sweep cleanup",
    ("cleanup", "--repo"): "for a repository: ostree-sweep prune",
}


def _unknown(found: argparse.Namespace, arguments: list[str], parsers: dict[str, ArgumentParser]) -> str:
    """What is wrong with arguments that a command does not know, and what was probably meant."""
    command, first = found.command, arguments[0]
    name, options = first.partition("=")[0], parsers[command].options()
    if not name.startswith("-"):
        option = _option_for(name)
        hint = f"; did you mean {option}={first}?" if option in options else ""
        return f"unrecognized arguments: {' '.join(arguments)}{hint}"
    if (command, name) in _COUNTERPARTS:
        # What is copied from here must not delete more than was meant.
        given = [*arguments, "--dry-run"] if found.dry_run else arguments
        return f"{command} has no {name}; {_COUNTERPARTS[command, name]} {' '.join(given)}"
    others = [other for other, parser in parsers.items() if name in parser.options()]
    if others and name not in options:
        return f"{command} has no {name}; these commands have it: {', '.join(others)}"
    return f"unrecognized arguments: {' '.join(arguments)}{_did_you_mean(name, options)}"


def _option_for(path: str) -> str | None:
    """The option that names such a place."""
    if os.path.isdir(os.path.join(path, "ostree/repo")):
        return "--sysroot"
    return "--repo" if os.path.isdir(os.path.join(path, "objects")) else None


def _did_you_mean(wrong: str, names: Iterable[str]) -> str:
    # Slow to import.
    from difflib import get_close_matches

    nearest = get_close_matches(wrong, names, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


class Version(argparse.Action):
    """Reads the version when `--version` asks for it: the package's metadata is slow to read."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Prints it."""
        from importlib.metadata import version

        print(f"ostree-sweep {version('ostree-sweep')}")
        parser.exit()
