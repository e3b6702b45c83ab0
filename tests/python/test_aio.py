"""The awaitable calls: the loop stays free, and a cancelled task leaves no work behind."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, NotARepoError, OperationCancelled, Progress, aio
from support.samples import locked, object_files, ostree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with one orphaned commit."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("dead", encoding="utf-8")
    ostree("init", "--mode=archive", f"--repo={repo}")
    ostree("commit", f"--repo={repo}", "--orphan", tree)
    return repo


def working() -> bool:
    return any(thread.name.startswith("ostree-sweep") for thread in threading.enumerate())


@pytest.mark.parametrize("name", aio.__all__)
def test_the_signatures_are_those_of_the_blocking_calls(name: str) -> None:
    assert inspect.signature(getattr(aio, name)) == inspect.signature(getattr(ostree_sweep, name))


def test_all_calls_can_be_awaited() -> None:
    blocking = {name for name in ostree_sweep.__all__ if inspect.isfunction(getattr(ostree_sweep, name))}
    assert set(aio.__all__) == blocking


def test_a_prune(repo: Path) -> None:
    report = asyncio.run(aio.prune(repo, refs_only=True))
    assert report.objects_pruned == 4
    assert object_files(repo) == []


def test_cleanups(tmp_path: Path) -> None:
    ostree("admin", f"--sysroot={tmp_path}", "init-fs", tmp_path)

    async def clean_up() -> None:
        assert not (await aio.auto_cleanup(tmp_path)).ran
        assert (await aio.cleanup(tmp_path)).ran
        assert (await aio.request_cleanup(tmp_path)).deployed == ()
        assert (await aio.auto_cleanup(tmp_path)).stamp_removed

    asyncio.run(clean_up())


def test_errors_come_through(tmp_path: Path) -> None:
    with pytest.raises(NotARepoError):
        asyncio.run(aio.prune(tmp_path))


def test_the_loop_stays_free_and_gets_the_progress(repo: Path) -> None:
    ticks = 0
    threads = set()
    phases = []

    def note(progress: Progress) -> None:
        threads.add(threading.current_thread())
        phases.append(progress.phase)

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def work() -> None:
        ticking = asyncio.ensure_future(tick())
        with locked(repo):
            running = asyncio.ensure_future(aio.prune(repo, lock_timeout_s=-1, progress=note))
            await asyncio.sleep(0.5)
        await running
        ticking.cancel()

    asyncio.run(work())
    assert ticks > 5
    assert threads == {threading.current_thread()}
    assert phases[-1] == "done"


def test_a_cancelled_task_has_stopped_its_work(repo: Path) -> None:
    before = object_files(repo)

    async def cancel() -> float:
        running = asyncio.ensure_future(aio.prune(repo, refs_only=True, lock_timeout_s=-1))
        await asyncio.sleep(0.3)
        assert working()
        begin = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return time.monotonic() - begin

    with locked(repo):
        assert asyncio.run(cancel()) < 2
    assert not working()
    assert object_files(repo) == before


def test_impatient_cancelling_waits_all_the_same(repo: Path) -> None:
    """Each further cancellation must not tear the task away from work that is still stopping."""

    async def cancel() -> None:
        running = asyncio.ensure_future(aio.prune(repo, lock_timeout_s=-1))
        await asyncio.sleep(0.3)
        while not running.done():
            running.cancel()
            await asyncio.sleep(0)
        assert running.cancelled()

    with locked(repo):
        asyncio.run(cancel())
    assert not working()


def test_a_timeout_is_a_cancellation(repo: Path) -> None:
    with locked(repo), pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(aio.prune(repo, lock_timeout_s=-1), timeout=0.3))
    assert not working()


def test_the_callers_token_works_too(repo: Path) -> None:
    token = CancellationToken()

    async def cancel() -> None:
        running = asyncio.ensure_future(aio.prune(repo, lock_timeout_s=-1, cancellable=token))
        await asyncio.sleep(0.2)
        token.cancel()
        with pytest.raises(OperationCancelled):
            await running

    with locked(repo):
        asyncio.run(cancel())


def test_a_crowded_loop_starts_the_work_at_once(repo: Path) -> None:
    """The default executor's threads may all be busy with something else."""

    async def crowd() -> None:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        others = [loop.run_in_executor(None, release.wait) for _ in range(64)]
        try:
            await asyncio.wait_for(aio.prune(repo), timeout=5)
        finally:
            release.set()
            await asyncio.gather(*others)

    asyncio.run(crowd())
