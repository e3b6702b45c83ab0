"""Reading a file that a user names: of bounded size, and never waiting without heed to a cancellation."""

from __future__ import annotations

import errno
import os
import select
import stat

from .errors import OperationCancelled
from .hints import TYPE_CHECKING

if TYPE_CHECKING:
    from .cancellation import Cancellable

_TICK_MS = 50
_CHUNK = 64 * 1024


def read(path: str, limit: int, cancellable: Cancellable | None = None) -> bytes:
    """Reads a regular file, or a pipe until its writers have closed it.

    Args:
        path: the file.
        limit: the most that it may hold, in bytes.
        cancellable: asked every 50 ms while a pipe has nothing.

    Raises:
        OSError: it can't be read, or is neither a regular file nor a pipe.
        ValueError: it holds more.
        OperationCancelled: the cancellable said so.
    """
    # A FIFO opened so has no need of a writer yet.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        kind = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
            raise OSError(errno.EINVAL, "neither a regular file nor a pipe", path)
        content = bytearray()
        while len(content) <= limit:
            if stat.S_ISFIFO(kind):
                _wait(descriptor, cancellable)
            try:
                chunk = os.read(descriptor, min(_CHUNK, limit + 1 - len(content)))
            except BlockingIOError:
                continue
            if not chunk:
                return bytes(content)
            content += chunk
        raise ValueError(f"{path}: larger than {limit} bytes")
    finally:
        os.close(descriptor)


def is_writable_by_others(path: str) -> bool:
    """Whether somebody besides root and this process's user owns a file or may write to it."""
    status = os.stat(path)
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & 0o022)


def _wait(descriptor: int, cancellable: Cancellable | None) -> None:
    """Waits until a pipe has something, or had its last writer."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(_TICK_MS):
        if cancellable is not None and cancellable.is_cancelled():
            raise OperationCancelled
