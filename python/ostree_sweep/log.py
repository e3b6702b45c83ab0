"""What the package logs by `logging`, as `ostree_sweep`. Handlers are the caller's: none is installed."""

from __future__ import annotations

import sys


def info(message: str, *arguments: object) -> None:
    """Logs a message with its arguments."""
    # Slow to import, and nobody listens who has not done so.
    logging = sys.modules.get("logging")
    if logging is not None:
        logging.getLogger("ostree_sweep").info(message, *arguments)
