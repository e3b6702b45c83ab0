"""Calls that only look can be paused, as Ctrl-Z does, and hold no lock then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, Keep, Policy, Progress, views
from support.samples import locked, ostree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["usage", "why", "check_policy"])
def test_a_view_can_be_paused(tmp_path: Path, name: str) -> None:
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("live", encoding="utf-8")
    ostree("init", "--mode=archive", f"--repo={repo}")
    ostree("commit", f"--repo={repo}", "--branch=main", tree)
    token = CancellationToken()
    token.pause()
    was_free = []

    def watch(progress: Progress) -> None:
        if progress.phase == "paused":
            with locked(repo):
                was_free.append(True)
            token.resume()

    calls: dict[str, Callable[[], object]] = {
        "usage": lambda: ostree_sweep.usage(repo, cancellable=token, progress=watch),
        "why": lambda: ostree_sweep.why("main", repo, cancellable=token, progress=watch),
        "check_policy": lambda: views.check_policy(
            Policy({}, Keep()), repo, cancellable=token, progress=watch
        ),
    }
    calls[name]()
    assert was_free
