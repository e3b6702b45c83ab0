"""What takes too long fails, and nothing of it is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.sysroots import wait_until
from support.time_limit import TimeLimitExceeded, time_limit

TEST = """
import subprocess, pytest

@pytest.fixture
def slow():
    yield
    print("torn down")

@pytest.mark.time_limit(2)
def test_that_hangs(slow):
    subprocess.run(["sh", "-c", "setsid sleep {seconds} & sleep {seconds}"])

def test_that_follows():
    pass
"""


def sleepers(seconds: str) -> list[Path]:
    """The processes that sleep for so long."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(encoding="utf-8", errors="replace").split("\0")
        except OSError:
            continue
        if words[:2] == ["sleep", seconds]:
            found.append(path)
    return found


def test_a_test_that_hangs_fails_and_its_processes_end(tmp_path: Path) -> None:
    seconds = f"98765.{os.getpid()}"
    (tmp_path / "conftest.py").symlink_to(Path(__file__).with_name("conftest.py"))
    (tmp_path / "test_it.py").write_text(TEST.format(seconds=seconds), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        f"-c{Path(__file__).parents[2] / 'pyproject.toml'}",
    ]
    done = subprocess.run([*command, tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TimeLimitExceeded: not done after 2 s" in done.stdout
    assert "torn down" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    wait_until(lambda: not sleepers(seconds))


def test_what_is_done_in_time_is_left_alone() -> None:
    with time_limit(30):
        child = subprocess.Popen(["sleep", "1000"])
    try:
        with pytest.raises(TimeLimitExceeded), time_limit(0.1):
            child.wait()
        assert child.wait() < 0
    finally:
        child.kill()
