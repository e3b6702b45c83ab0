"""What the package logs, and that it leaves handlers to its caller."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from ostree_sweep.stamp import CleanupStamp
from support.samples import ostree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one commit, of one file, that no ref leads to."""
    path, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("content")
    ostree("init", "--mode=archive", f"--repo={path}")
    ostree("commit", f"--repo={path}", "--orphan", tree)
    return path


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


def test_outcomes_are_logged(repo: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="ostree_sweep"):
        planned = ostree_sweep.prune(repo, refs_only=True, dry_run=True)
        done = ostree_sweep.prune(repo, refs_only=True)
    assert (done.objects_pruned, done.bytes_freed) == (planned.objects_pruned, planned.bytes_freed)
    assert [record.getMessage() for record in caplog.records] == [
        f"{repo}: 4 objects would be deleted, {done.bytes_freed} bytes in all",
        f"{repo}: 4 objects deleted, {done.bytes_freed} bytes in all",
    ]


def test_no_handler_is_installed(tmp_path: Path) -> None:
    program = f"{REQUEST}; import logging; assert not logging.root.handlers, logging.root.handlers"
    program += "; assert not logging.getLogger('ostree_sweep').handlers"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / ".cleanup"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
