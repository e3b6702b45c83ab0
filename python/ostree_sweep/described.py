"""Completes what `help()` shows of a call: what all calls have in common is written once, in `work`."""

from __future__ import annotations

from . import work
from .hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _Call = TypeVar("_Call", bound=Callable[..., object])

_REFERENCE = ": see `work`."


def described(call: _Call) -> _Call:
    """Puts the descriptions themselves where the call's own refers to those of `work`."""
    # Python -OO has none.
    if call.__doc__ and work.__doc__:
        entries: dict[str, list[str]] = {}
        for first, *rest in _items(work.__doc__, " " * 4):
            names, _, description = first.strip().partition(": ")
            for name in names.split(", "):
                entries[name] = [f"{' ' * 8}{name}: {description}", *(f"{' ' * 4}{line}" for line in rest)]
        lines: list[str] = []
        for item in _items(call.__doc__, " " * 8):
            text = " ".join(line.strip() for line in item)
            if text.endswith(_REFERENCE):
                for name in text[: -len(_REFERENCE)].split(", "):
                    lines += entries[name]
            else:
                lines += item
        call.__doc__ = "\n".join(lines)
    return call


def _items(text: str, indent: str) -> list[list[str]]:
    """The lines of a text, those together that are indented more than the one before them."""
    items: list[list[str]] = []
    for line in text.split("\n"):
        if items and line.startswith(f"{indent} ") and items[-1][0].startswith(indent):
            items[-1].append(line)
        else:
            items.append([line])
    return items
