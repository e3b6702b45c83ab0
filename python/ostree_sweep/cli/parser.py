"""A parser that raises, and suggests the name that was probably meant."""

from __future__ import annotations

import argparse
import re
import sys

from ..hints import TYPE_CHECKING
from .plain import SUPPRESS, UsageError

if TYPE_CHECKING:
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

    def error(self, message: str) -> NoReturn:
        """Stops at a wrong argument."""
        raise UsageError(f"{self._with_nearest(message)} (see {self.prog} --help)")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Unlike argparse's own, it does not hide that help can't be written."""
        (sys.stdout if file is None else file).write(message)

    def _with_nearest(self, message: str) -> str:
        """A name that is unknown, with the one that was probably meant."""
        wrong = re.match(
            r"unrecognized arguments: (--[^\s=]+)|argument COMMAND: invalid choice: '([^']*)'", message
        )
        if wrong is None:
            return message
        # Slow to import.
        from difflib import get_close_matches

        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - argparse has no other way
        parsers: dict[str, argparse.ArgumentParser] = commands[0].choices if commands else {}
        options = {name for each in (self, *parsers.values()) for name in each._option_string_actions}  # noqa: SLF001
        given = wrong[1] or wrong[2]
        nearest = get_close_matches(given, options if wrong[1] else parsers, n=1)
        text = message if wrong[1] else f"there is no command '{given}'"
        return f"{text}; did you mean {nearest[0]}?" if nearest else text


class Version(argparse.Action):
    """Reads the version when `--version` asks for it: the package's metadata is slow to read."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Prints it."""
        from importlib.metadata import version

        print(f"ostree-sweep {version('ostree-sweep')}")
        parser.exit()
