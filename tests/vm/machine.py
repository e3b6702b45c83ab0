"""A virtual machine that boots from a disk as OSTree's boot loader would have it."""

from __future__ import annotations

import base64
import json
import shlex
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
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


@dataclass(frozen=True)
class Moment:
    """A machine's disk and memory at one moment, from which it can go on any number of times."""

    disk: Disk
    memory: Path


class Machine:
    """A running machine; the end of the context is a power cut, if it still runs then."""

    def __init__(self, disk: Disk, *, memory: Path | None = None, writes_per_s: int = 0) -> None:
        """What is to be started.

        Args:
            disk: what it boots from, and writes to.
            memory: a moment's memory, to go on from there instead of booting.
            writes_per_s: how many writes the disk takes in a second; 0: as many as it can.
        """
        self.disk = disk
        self.console = disk.path.with_suffix(".console")
        self._port = disk.path.with_suffix(".port")
        self._memory = memory
        self._writes_per_s = writes_per_s

    @classmethod
    def resumed(cls, moment: Moment, path: Path, *, writes_per_s: int = 0) -> Self:
        """A machine that goes on from a moment, with a copy of its disk."""
        return cls(moment.disk.copy(path), memory=moment.memory, writes_per_s=writes_per_s)

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
                *("-qmp", "stdio"),
                *(
                    "-drive",
                    f"file={self.disk.path},format=raw,if=virtio,cache=writeback,"
                    f"throttling.iops-write={self._writes_per_s}",
                ),
                *("-serial", f"file:{self.console}"),
                *(
                    "-chardev",
                    f"socket,id=port,path={self._port},server=on,wait=off",
                    "-serial",
                    "chardev:port",
                ),
                *_kernel(self.disk),
                *(["-incoming", f"exec:cat {shlex.quote(str(self._memory))}"] if self._memory else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._socket = socket.socket(socket.AF_UNIX)
        self._answers = b""
        self._wait(lambda: self._connected())
        self._execute("qmp_capabilities")
        if self._memory:
            self._wait(lambda: self._execute("query-status")["status"] == "paused")
            self._execute("cont")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._socket.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()

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

    def keep(self) -> Moment:
        """Ends it, and keeps what it needs to go on from here."""
        memory = self.disk.path.with_suffix(".memory")
        whole, part = shlex.quote(str(memory)), shlex.quote(f"{memory}.part")
        memory.unlink(missing_ok=True)
        self._execute("stop")
        self._execute("migrate", uri=f"exec:cat >{part} && mv {part} {whole}")
        self._wait(lambda: self._execute("query-migrate")["status"] == "completed")
        self._wait(memory.exists)
        self.cut()
        return Moment(self.disk, memory)

    def _execute(self, command: str, **arguments: object) -> Any:
        """Has QEMU do something; returns its answer."""
        assert self._process.stdin
        assert self._process.stdout
        order = json.dumps({"execute": command, "arguments": arguments})
        self._process.stdin.write(order.encode() + b"\n")
        self._process.stdin.flush()
        # It tells of events, too.
        for line in self._process.stdout:
            message = json.loads(line)
            assert "error" not in message, f"{order}: {message}"
            if "return" in message:
                return message["return"]
        raise AssertionError("the machine is down")

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

    def _wait(self, happened: Callable[[], bool]) -> None:
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
