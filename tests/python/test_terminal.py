"""What the command prints on terminals of different widths."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

import pytest

from support.samples import COMMAND, ostree
from support.sysroots import Sysroot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_REF = f"os/{'x' * 40}/{'y' * 40}/stable"


def printed(width: int, *arguments: object) -> list[str]:
    """What the command prints on a terminal of so many columns."""
    ours, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    words = [str(COMMAND), *map(str, arguments)]
    with subprocess.Popen(words, stdout=its_end, stderr=subprocess.PIPE, env=environment) as command:
        os.close(its_end)
        drawn = b"".join(_chunks(ours))
        os.close(ours)
        assert command.stderr is not None
        assert command.stderr.read() == b""
    assert command.returncode == 0
    return drawn.decode().splitlines()


def _chunks(terminal: int) -> Iterator[bytes]:
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while chunk := os.read(terminal, 4096):
            yield chunk


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with refs of short names, and one of a long one."""
    place = tmp_path_factory.mktemp("terminal")
    repo, tree = place / "repo", place / "tree"
    tree.mkdir()
    ostree("init", "--mode=archive", f"--repo={repo}")
    for name in ("os/stable", "os/next", LONG_REF):
        (tree / "file").write_text(name, encoding="ascii")
        ostree("commit", f"--repo={repo}", f"--branch={name}", tree)
    return repo


def table(lines: list[str]) -> list[str]:
    return lines[: lines.index("")]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_row_is_wider_than_the_terminal(repo: Path, tmp_path: Path, width: int) -> None:
    policy = tmp_path / "policy"
    policy.write_text("[default]\ndepth = 0\n", encoding="ascii")
    for command in (("du",), ("policy", "--check", policy)):
        rows = table(printed(width, *command, f"--repo={repo}"))
        assert len(rows) == 4
        assert max(map(len, rows)) <= width
        assert sum(row.startswith(("os/stable ", "os/next ")) for row in rows) == 2
        # With room enough nothing is left out.
        assert any(row.startswith(LONG_REF) for row in rows) == (width == 200)


@pytest.mark.needs_root
@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_table_of_many_columns_takes_two_lines_a_row_if_need_be(tmp_path: Path, width: int) -> None:
    sysroot = Sysroot.create(tmp_path / "sysroot", directories=1)
    sysroot.deploy(1)
    sysroot.deploy(2)
    sysroot.admin("pin", "1")
    lines = printed(width, "status", f"--sysroot={sysroot.path}")
    rows = table(lines[lines.index("") + 1 :])
    assert max(map(len, rows)) <= width
    assert len(rows) == (3 if width >= 80 else 6)
    indented = [number for number, row in enumerate(rows) if row.startswith(" ")]
    assert indented == ([] if width >= 80 else [1, 3, 5])


def test_elsewhere_names_are_whole(repo: Path) -> None:
    done = subprocess.run([COMMAND, "du", f"--repo={repo}"], capture_output=True, text=True, check=True)
    assert f"{LONG_REF}  " in done.stdout
