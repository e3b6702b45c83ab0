"""The command on a terminal of some width."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios

from support.sysroots import COMMAND


def on_terminal(columns: int, *words: object, **environment: str) -> str:
    """What the command writes on a terminal of so many columns, without progress bars."""
    terminal, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment = {**kept, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment}
    shown = b""
    with subprocess.Popen(
        [COMMAND, *map(str, words)], stdin=its_end, stdout=its_end, stderr=its_end, env=environment
    ):
        os.close(its_end)
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while chunk := os.read(terminal, 4096):
                shown += chunk
    os.close(terminal)
    text = shown.decode().replace("\r\n", "\n")
    # A bar is drawn from the line's beginning, and wiped at the end.
    return "\n".join(line.rpartition("\r")[2] for line in text.split("\n"))
