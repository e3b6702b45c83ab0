"""What the package logs, and that it leaves handlers to its caller."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from ostree_sweep.stamp import CleanupStamp

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

REQUEST = "import sys; from ostree_sweep.stamp import CleanupStamp; CleanupStamp(sys.argv[1]).request()"


def test_stamps_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stamp = CleanupStamp(tmp_path / ".cleanup")
    with caplog.at_level(logging.INFO, logger="ostree_sweep"):
        stamp.request()
        first = stamp.read()
        assert first is not None
        stamp.request()
        second = stamp.read()
        assert second is not None
        assert not stamp.remove(first)
        assert stamp.remove(second)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("ostree_sweep", f"cleanup requested: {stamp.path}"),
        ("ostree_sweep", f"cleanup requested: {stamp.path}"),
        ("ostree_sweep", f"stamp stays, as somebody asked again: {stamp.path}"),
        ("ostree_sweep", f"stamp removed: {stamp.path}"),
    ]


def test_no_handler_is_installed(tmp_path: Path) -> None:
    program = f"{REQUEST}; import logging; assert not logging.root.handlers, logging.root.handlers"
    program += "; assert not logging.getLogger('ostree_sweep').handlers"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / ".cleanup"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
