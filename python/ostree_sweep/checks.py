"""What the calls refuse before anything is opened, locked or written.

A value of another type than the signature names is a `TypeError`: a `str` is no collection of `str`, a `bool`
is no number, a file descriptor is no path, a coroutine function is no callback. A value of the right type, but
one that makes no sense, is a `ValueError`. Messages begin with the argument's name.
"""

from __future__ import annotations

import inspect


def callback(name: str, value: object) -> None:
    """Checks a callback, which may be None: coroutine functions are refused, as nobody would await them."""
    if value is None:
        return
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise TypeError(f"{name} must be a plain function: nothing awaits a coroutine function")
