"""What the package tells `logging`, as `ostree_sweep`. Handlers are the caller's: none is installed."""

from __future__ import annotations


def info(message: str, *arguments: object) -> None:
    """Logs a message with its arguments."""
    # Slow to import, and a command with nothing to do never gets here.
    import logging

    logging.getLogger("ostree_sweep").info(message, *arguments)
