"""Completes what `help()` shows of a call: what all calls have in common is written once, in `work`."""

from __future__ import annotations

import re
from typing import Callable, TypeVar

from . import work

_Call = TypeVar("_Call", bound=Callable[..., object])

_REFERENCE = re.compile(r"^ {8}([\w, \n]+): see\s+`work`\.$", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}([\w, ]+): (.+(?:\n {8}.+)*)$", re.MULTILINE)


def described(call: _Call) -> _Call:
    """Puts the descriptions themselves where the call's own refers to those of `work`."""
    # Python -OO has none.
    if call.__doc__ and work.__doc__:
        entries = dict(_ENTRY.findall(work.__doc__))

        def texts(reference: re.Match[str]) -> str:
            names = re.split(r",\s+", reference[1])
            return "\n".join(f"        {name}: {entries[name]}".replace("\n", "\n    ") for name in names)

        call.__doc__ = _REFERENCE.sub(texts, call.__doc__)
    return call
