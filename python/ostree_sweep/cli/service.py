"""What systemd is told where the command runs as a service: by one datagram, its journal or its manager."""

from __future__ import annotations

import contextlib
import os
import sys
import time

from ..hints import TYPE_CHECKING
from .table import doing, size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..progress import Progress

# Never change these: they are what others look for. docs/systemd.md lists them.
CLEANED_UP = "2504b3f50c5c49cc8f674460f8a61907"
NOT_NEEDED = "e36cc8e02944457cb390afb804589f36"
PRUNED = "ece0fa93ea324096ab949e0bb879c3a1"
PLANNED = "130d5b3b0d9f4a999c1cff35bc642335"
STAMPED = "cf104029b66842d9be3df827fc49aaa8"
INCOMPLETE = "fcd209597ae346beb1a5d0b13352ced9"
CANCELLED = "e9a9045139354bf7b552a7a9f3d986b4"
FAILED = "c0d7e2ea61bd49fd8956bee8c852a935"

ERROR = 3
INFO = 6

_JOURNAL = "/run/systemd/journal/socket"
_STATUS_INTERVAL_S = 1.0


def stdout_is_journal() -> bool:
    """Whether what is printed goes to the journal."""
    stream = os.environ.get("JOURNAL_STREAM")
    if not stream or sys.stdout is None:
        return False
    try:
        status = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError):
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


def log(message: str, message_id: str | None, data: Mapping[str, Any], *, priority: int = INFO) -> bool:
    """Writes a message to the journal; says whether it took it.

    Args:
        message: for people to read.
        message_id: for programs to find it by.
        data: what becomes fields `OSTREE_SWEEP_NAME`: texts, numbers, and what is true or false as 1 or 0.
        priority: as syslog has it.
    """
    fields = {"MESSAGE": message, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "ostree-sweep"}
    if message_id is not None:
        fields["MESSAGE_ID"] = message_id
    for name, value in data.items():
        if isinstance(value, (str, int, float)):
            fields[f"OSTREE_SWEEP_{name.upper()}"] = int(value) if isinstance(value, bool) else value
    return _send(_JOURNAL, b"".join(_field(name, str(value)) for name, value in fields.items()))


class Status:
    """Reports to the service manager how far the work has come, once a second."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._phase = ""

    @staticmethod
    def is_wanted() -> bool:
        """Whether there is somebody to tell."""
        return bool(os.environ.get("NOTIFY_SOCKET"))

    def __call__(self, progress: Progress) -> None:
        """Reports it when the phase changes, and else once a second at most."""
        now = time.monotonic()
        if progress.phase == self._phase and now < self._next_s:
            return
        self._phase, self._next_s = progress.phase, now + _STATUS_INTERVAL_S
        of = "" if progress.total is None else f" of {progress.total}"
        freed = size(progress.bytes_freed)
        _send(
            os.environ["NOTIFY_SOCKET"],
            f"STATUS={doing(progress)}: {progress.done}{of}, {freed} freed".encode(),
        )


def _field(name: str, value: str) -> bytes:
    """A field in the journal's own protocol: a value of several lines goes with its length."""
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _send(path: str, data: bytes) -> bool:
    import socket

    # A name that begins so is in the abstract name space.
    address = "\0" + path[1:] if path.startswith("@") else path

    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(data, address)
        return True
    return False
