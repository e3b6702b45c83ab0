"""Runs in the machine: takes commands from its second serial port, and answers with what they print."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import termios
import tty


def main() -> None:
    """Answers until the machine goes down."""
    port = os.open("/dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(port, termios.TCSANOW)
    os.write(port, b"ready\n")
    with open(port, "rb", buffering=0, closefd=False) as lines:
        for line in lines:
            command = base64.b64decode(line).decode()
            done = subprocess.run(
                ["sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            answer = json.dumps([done.returncode, done.stdout, done.stderr]).encode()
            os.write(port, base64.b64encode(answer) + b"\n")


if __name__ == "__main__":
    main()
