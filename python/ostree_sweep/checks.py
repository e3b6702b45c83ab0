"""What the calls refuse, and how, before they open, lock or write anything.

`TypeError`: a value of another type than the signature names. A `str` is no collection of `str`, a `bool` is
no number, a file descriptor is no path, and a coroutine function is no callback.
`ValueError`: a value of that type that makes no sense, or two arguments that exclude each other.

Messages begin with the argument's name; of a date that can't be parsed they are `ostree`'s.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from functools import partial

from .hints import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# `inspect.CO_COROUTINE`.
_CO_COROUTINE = 0x80
_IMPACTS = ("idle", "balanced", "full")


def path(name: str, value: object) -> str:
    """A path as text."""
    if not isinstance(value, (str, os.PathLike)):
        raise _wrong_type(name, "a str or os.PathLike[str]", value)
    found = os.fspath(value)
    if not isinstance(found, str):
        raise _wrong_type(name, "a str or os.PathLike[str]", found)
    if not found or "\0" in found:
        raise ValueError(f"{name} must not be empty or contain a null character, not {found!r}")
    return found


def optional_path(name: str, value: object) -> str | None:
    """A path as text; None stays None."""
    return None if value is None else path(name, value)


def flag(name: str, value: object) -> None:
    """Checks a truth value."""
    if not isinstance(value, bool):
        raise _wrong_type(name, "a bool", value)


def impact(value: object) -> None:
    """Checks an impact."""
    text("impact", value)
    if value not in _IMPACTS:
        raise ValueError(f"impact must be 'idle', 'balanced' or 'full', not {value!r}")


def whole(name: str, value: object, least: int, most: int) -> None:
    """Checks a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_type(name, "an int", value)
    if not least <= value <= most:
        raise ValueError(f"{name} must be between {least} and {most}, not {value}")


def optional_whole(name: str, value: object, least: int, most: int) -> None:
    """Checks a whole number, which may be None."""
    if value is not None:
        whole(name, value, least, most)


def depth(name: str, value: object) -> None:
    """Checks a number of generations of parents; -1 stands for all."""
    whole(name, value, -1, 2**32 - 1)


def seconds(name: str, value: object, *, negative: str | None = None) -> None:
    """Checks a time in seconds; less than 0 only where that stands for something."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _wrong_type(name, "a number of seconds", value)
    if not math.isfinite(value) or (value < 0 and negative is None):
        least = " of at least 0" if negative is None else f"; negative: {negative}"
        raise ValueError(f"{name} must be a finite number of seconds{least}, not {value}")


def optional_seconds(name: str, value: object, *, negative: str | None = None) -> None:
    """Checks a time in seconds, which may be None."""
    if value is not None:
        seconds(name, value, negative=negative)


def texts(name: str, value: object) -> tuple[str, ...]:
    """A collection of texts; a single one is refused, as it would be taken for its letters."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong_type(name, "a collection of str", value)
    items = tuple(value)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"{name} must be a collection of str, and one is of type {type(item).__name__}")
        _encodable(name, item)
    return items


def text(name: str, value: object) -> None:
    """Checks a text."""
    if not isinstance(value, str):
        raise _wrong_type(name, "a str", value)
    _encodable(name, value)


def _encodable(name: str, value: str) -> None:
    """Refuses text that is not UTF-8, as arguments of a command may be."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be UTF-8, not {value!a}") from None


def optional_text(name: str, value: object) -> None:
    """Checks a text, which may be None."""
    if value is not None:
        text(name, value)


def instance(name: str, value: object, kind: type) -> None:
    """Checks a value of one of our classes."""
    if not isinstance(value, kind):
        raise _wrong_type(name, f"a {kind.__name__}", value)


def optional_date(name: str, value: object) -> None:
    """Checks the type of a date, which may be None."""
    if value is None:
        return
    if isinstance(value, bool) or not (isinstance(value, (str, int, float)) or _is_datetime(value)):
        raise _wrong_type(name, "a str, a number of seconds or a datetime", value)
    if isinstance(value, str):
        _encodable(name, value)


def _is_datetime(value: object) -> bool:
    # Whoever has one has imported the module, which is slow to import.
    module = sys.modules.get("datetime")
    return module is not None and isinstance(value, module.datetime)


def by_ref(name: str, value: object, check: Callable[[str, object], object]) -> None:
    """Checks a mapping of refs' names to what `check` takes."""
    if not isinstance(value, Mapping):
        raise _wrong_type(name, "a mapping", value)
    for ref, item in value.items():
        if not isinstance(ref, str):
            raise _wrong_type(f"{name}'s keys", "str", ref)
        _encodable(f"{name}'s keys", ref)
        check(f"{name}[{ref!r}]", item)


def callbacks(cancellable: object, progress: object, items: object = None) -> None:
    """Checks what is asked and called while work runs; each may be None.

    Coroutine functions are refused: nothing would await them.
    """
    if cancellable is not None and not callable(getattr(cancellable, "is_cancelled", None)):
        raise _wrong_type("cancellable", "an object with a method is_cancelled()", cancellable)
    for name, value in (("progress", progress), ("items", items)):
        if value is None:
            continue
        if not callable(value):
            raise _wrong_type(name, "callable", value)
        if _makes_coroutines(value) or _makes_coroutines(type(value).__call__):
            raise TypeError(f"{name} must be a plain function: nothing awaits a coroutine function")


def _makes_coroutines(value: object) -> bool:
    """As `inspect.iscoroutinefunction`, which is slow to import."""
    while isinstance(value, partial):
        value = value.func
    return bool(getattr(getattr(value, "__code__", None), "co_flags", 0) & _CO_COROUTINE)


def _wrong_type(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")
