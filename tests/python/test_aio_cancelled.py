"""A cancelled awaitable call writes nothing, whoever cancels it, and its report can still be had."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import CancellationToken, OperationCancelled, Progress, aio
from support.samples import object_files, ostree
from support.sysroots import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT = """
    try:
        await asyncio.wait_for(work(), 0.3)
    except asyncio.TimeoutError:
        print("stopped")
"""
TASK = """
    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        print("stopped")
"""
TASK_GROUP = """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await asyncio.sleep(0.3)
            raise ValueError
    except* ValueError:
        print("stopped")
"""
INTERRUPT = """
    asyncio.get_running_loop().call_later(0.3, os.kill, os.getpid(), signal.SIGINT)
    await work()
"""
BODIES = {"timeout": TIMEOUT, "task": TASK, "interrupt": INTERRUPT}
if sys.version_info >= (3, 11):
    BODIES["task group"] = TASK_GROUP
PROGRAM = """
import asyncio, gc, os, signal
from ostree_sweep import aio

def work():
    return aio.prune("repo", refs_only=True, unlinks_per_s=5)

async def main():
    {body}
    gc.collect()
    await asyncio.sleep(0.05)

try:
    asyncio.run(main(), debug={debug})
except KeyboardInterrupt:
    print("stopped")
gc.collect()
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with 50 orphaned files."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    for number in range(50):
        (tree / str(number)).write_text(f"dead {number}", encoding="utf-8")
    ostree("init", "--mode=archive", f"--repo={repo}")
    ostree("commit", f"--repo={repo}", "--orphan", tree)
    return repo


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_nothing_is_written(repo: Path, body: str, debug: bool) -> None:
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), "    ").strip(), debug=debug)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=repo.parent,
        env={**os.environ, "PYTHONPATH": str(PROJECT / "python")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("stopped\n", "", 0)
    assert object_files(repo), "the call was over before it was cancelled"


def test_the_report_is_the_cause_of_the_cancellation(repo: Path) -> None:
    async def cancel() -> BaseException | None:
        try:
            await aio.prune(repo, refs_only=True, unlinks_per_s=5)
        except asyncio.CancelledError as cancelled:
            return cancelled.__cause__
        return None

    async def run() -> BaseException | None:
        task = asyncio.ensure_future(cancel())
        await asyncio.sleep(0.5)
        task.cancel()
        return await task

    before = len(object_files(repo))
    cause = asyncio.run(run())
    assert isinstance(cause, OperationCancelled)
    assert cause.report is not None
    assert cause.report.objects_pruned == before - len(object_files(repo)) > 0
    assert cause.report.unfinished == "it was cancelled"
    assert repr(cause) == "OperationCancelled(report=...)"


def test_a_timeout_by_a_token_gives_the_report(repo: Path) -> None:
    """The way the guide shows for a program that wants the report."""

    async def run() -> OperationCancelled:
        token = CancellationToken()
        asyncio.get_running_loop().call_later(0.5, token.cancel)
        with pytest.raises(OperationCancelled) as raised:
            await aio.prune(repo, refs_only=True, unlinks_per_s=5, cancellable=token)
        return raised.value

    before = len(object_files(repo))
    report = asyncio.run(run()).report
    assert report is not None
    assert report.objects_pruned == before - len(object_files(repo)) > 0


async def progress_later(_: Progress) -> None:
    """What can't be a callback."""


class LaterStill:
    """An object whose call is a coroutine."""

    async def __call__(self, _: Progress) -> None:
        """Does nothing."""


@pytest.mark.parametrize("callback", [progress_later, LaterStill(), "print"])
def test_a_callback_that_is_no_plain_function_is_refused(repo: Path, callback: object) -> None:
    before = object_files(repo)
    with pytest.raises(TypeError, match="progress must be"):
        asyncio.run(aio.prune(repo, refs_only=True, progress=callback))  # type: ignore[arg-type]
    assert object_files(repo) == before
