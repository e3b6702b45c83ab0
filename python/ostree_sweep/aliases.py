"""Aliases of types, as `typing` has them: loaded when somebody evaluates an annotation, or asks for one."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any, Callable, Literal, Union

from .progress import Progress
from .reports import PrunedItem

Date = Union[str, int, float, dt.datetime]
"""A point in time: text as GNU `date` reads it, seconds since 1970, or a `datetime` (naive: local time)."""

Impact = Literal["idle", "balanced", "full"]
"""How much other work on the machine may notice of ours."""

ItemCallback = Callable[[PrunedItem], object]
"""What is called with each item that is deleted."""

JsonObject = dict[str, Any]
"""What `json.loads` makes of an object."""

Phase = Literal["lock", "paused", "deployments", "roots", "crawl", "sweep", "done"]
"""What work is busy with."""

ProgressCallback = Callable[[Progress], object]
"""What is called with each progress."""

StrPath = Union[str, os.PathLike[str]]
"""A path."""
