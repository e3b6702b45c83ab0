"""Reads arguments that are spelled out, without `argparse`: that takes half as long to load as Python does.

Options are defined once, in `arguments`, for this and for `argparse` alike. Help, wrong values and unknown
names are left to `argparse`, which has messages for them.
"""

from __future__ import annotations

from ..hints import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace as Namespace
    from collections.abc import Sequence
    from typing import Any
else:

    class Namespace:
        """What was given, as `argparse.Namespace` has it."""


SUPPRESS = "==SUPPRESS=="
"""`argparse.SUPPRESS`: the default of an option that is not in the result unless it is given."""


class UsageError(Exception):
    """The arguments make no sense."""


class NotPlainError(Exception):
    """`argparse` has to read these arguments."""


class _Option:
    """An option or a positional argument, as `add_argument` defines it."""

    def __init__(self, names: tuple[str, ...], how: dict[str, Any], group: object) -> None:
        long = next((name for name in names if name.startswith("--")), names[0])
        self.dest: str = how.get("dest") or long.lstrip("-").replace("-", "_")
        self.action: str = how.get("action", "store")
        self.takes_value = self.action in ("store", "append")
        self.default: object = how.get("default", False if self.action == "store_true" else None)
        self.convert = how.get("type", str)
        self.choices = how.get("choices")
        self.is_required: bool = how.get("required", not names[0].startswith("-") and how.get("nargs") != "?")
        self.group = group

    def value(self, text: str, old: object) -> object:
        """What is stored for one more time that it is given."""
        if self.action == "store_true":
            return True
        try:
            value = self.convert(text)
        except Exception:
            raise NotPlainError from None
        if self.choices is not None and value not in self.choices:
            raise NotPlainError
        return [*(old if isinstance(old, list) else []), value] if self.action == "append" else value


class PlainParser:
    """Takes definitions as `argparse.ArgumentParser` does."""

    def __init__(self) -> None:
        self._options: dict[str, _Option] = {}
        self._positionals: list[_Option] = []

    def add_argument(self, *names: str, group: object = None, **how: Any) -> None:  # noqa: ANN401 - as argparse
        """Defines an option, or a positional argument."""
        option = _Option(names, how, group)
        if names[0].startswith("-"):
            self._options.update(dict.fromkeys(names, option))
        else:
            self._positionals.append(option)

    def add_argument_group(self, _title: str) -> PlainParser:
        """A group of help's, which parsing does not know."""
        return self

    def add_mutually_exclusive_group(self) -> PlainGroup:
        """A group of options of which one may be given."""
        return PlainGroup(self)

    def parse(self, arguments: Sequence[str], into: Namespace) -> None:
        """Stores what is given, and the defaults of the rest.

        Raises:
            NotPlainError: `argparse` has to read them.
        """
        found: dict[_Option, object] = {}
        positionals, rest = iter(self._positionals), iter(arguments)
        for argument in rest:
            name, equals, text = argument.partition("=")
            if argument.startswith("-"):
                option = self._options.get(name)
                if option is None or (equals and not (option.takes_value and name.startswith("--"))):
                    raise NotPlainError
                if option.takes_value and not equals:
                    text = next(rest, "")
                    if not text or text.startswith("-"):
                        raise NotPlainError
            else:
                option, text = next(positionals, None), argument
                if option is None or not argument:
                    raise NotPlainError
            found[option] = option.value(text, found.get(option))
        groups = [option.group for option in found if option.group is not None]
        if len(groups) != len(set(groups)):
            raise NotPlainError
        for option in (*self._options.values(), *self._positionals):
            if option.is_required and option not in found:
                raise NotPlainError
            value = found.get(option, option.default)
            if value is not SUPPRESS:
                setattr(into, option.dest, value)


class PlainGroup:
    """Options of which one may be given."""

    def __init__(self, parser: PlainParser) -> None:
        self._parser = parser

    def add_argument(self, *names: str, **how: Any) -> None:  # noqa: ANN401 - as argparse
        """Defines one of them."""
        self._parser.add_argument(*names, group=self, **how)
