"""Colours on a terminal. They repeat what the words say, and `NO_COLOR` turns them off."""

from __future__ import annotations

import os

from ..hints import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional, TextIO

_CODES = {"good": "32", "attention": "33", "bad": "1;31"}


def painted(text: str, tone: Optional[str], stream: Optional[TextIO]) -> str:
    """The text in the colour of a tone, where the stream is a terminal that shows colours.

    Args:
        text: the text.
        tone: "good", "attention" or "bad"; None: no colour.
        stream: where it will be printed.
    """
    if tone is None or stream is None or not stream.isatty():
        return text
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return text
    return f"\x1b[{_CODES[tone]}m{text}\x1b[0m"
