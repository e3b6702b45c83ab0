"""A virtual machine that boots from a disk as OSTree's boot loader would have it."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from image import Disk

# An emulated boot takes half a minute on an idle machine.
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Answer:
    """What a command in the machine ended with."""

    status: int
    output: str
    errors: str


class Machine:
    """A running machine; the end of the context is a power cut, if it still runs then."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.console = disk.path.with_suffix(".console")
        self._port = disk.path.with_suffix(".port")

    def __enter__(self) -> Self:
        self._port.unlink(missing_ok=True)
        self.console.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [
                "qemu-system-x86_64",
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "Nehalem",
                "-smp",
                "2",
                "-m",
                "1024",
                *["-display", "none", "-monitor", "none", "-net", "none", "-no-reboot"],
                *("-drive", f"file={self.disk.path},format=raw,if=virtio,cache=writeback"),
                *("-serial", f"file:{self.console}"),
                *(
                    "-chardev",
                    f"socket,id=port,path={self._port},server=on,wait=off",
                    "-serial",
                    "chardev:port",
                ),
                *_kernel(self.disk),
            ],
            stdin=subprocess.DEVNULL,
        )
        self.started_at = time.monotonic()
        self._socket = socket.socket(socket.AF_UNIX)
        self._answers = b""
        self._wait(lambda: self._connected())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._socket.close()

    def wait_for_agent(self) -> None:
        """Waits until the machine takes commands."""
        while self._line() != b"ready":
            pass

    def run(self, command: str, *, check: bool = True) -> Answer:
        """Runs a shell command in the machine."""
        self.send(command)
        answer = Answer(*json.loads(base64.b64decode(self._line())))
        if check and answer.status != 0:
            raise AssertionError(f"{command}: {answer}")
        return answer

    def send(self, command: str) -> None:
        """Runs a shell command of which there will be no answer to wait for."""
        self._socket.sendall(base64.b64encode(command.encode()) + b"\n")

    def output(self, command: str) -> str:
        """What a shell command in the machine prints."""
        return self.run(command).output.strip()

    def wait_for_console(self, text: str) -> None:
        """Waits until the console says something."""
        self._wait(lambda: text.encode() in self.console.read_bytes())

    def reboot(self) -> float:
        """Shuts the machine down in order; returns how long it took, in seconds."""
        begun = time.monotonic()
        self.send("systemctl reboot")
        self._process.wait(PATIENCE_S)
        return time.monotonic() - begun

    def cut(self) -> None:
        """Cuts the power."""
        self._process.kill()
        self._process.wait()

    def _connected(self) -> bool:
        try:
            self._socket.connect(str(self._port))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        self._socket.settimeout(PATIENCE_S)
        return True

    def _line(self) -> bytes:
        while b"\n" not in self._answers:
            received = self._socket.recv(65536)
            if not received:
                raise AssertionError(
                    f"the machine is down: {self.console.read_text(errors='replace')[-2000:]}"
                )
            self._answers += received
        line, self._answers = self._answers.split(b"\n", 1)
        return line.strip()

    def _wait(self, happened: object) -> None:
        assert callable(happened)
        until = time.monotonic() + PATIENCE_S
        while not happened():
            assert self._process.poll() is None, "the machine is down"
            assert time.monotonic() < until, "it takes too long"
            time.sleep(0.02)


def _kernel(disk: Disk) -> list[str]:
    """The options that boot what the newest boot loader entry says."""
    with disk.mounted() as sysroot:
        boot = sysroot / "boot"
        entry = max((boot / "loader/entries").iterdir(), key=lambda path: int(path.name.split("-")[1]))
        words = dict(line.split(maxsplit=1) for line in entry.read_text().splitlines() if " " in line)
        copies: dict[str, Path] = {}
        for name in ("linux", "initrd"):
            copies[name] = disk.path.with_suffix(f".{name}")
            copies[name].write_bytes((boot / words[name].removeprefix("/boot").lstrip("/")).read_bytes())
    return ["-kernel", str(copies["linux"]), "-initrd", str(copies["initrd"]), "-append", words["options"]]
