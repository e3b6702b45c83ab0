#!/usr/bin/python3
"""An updater for asyncio: cleans up while it asks for an update, and stages that.

Cancelling the task stops the cleanup, and waits until every lock is free. The stamp stays, for the next run.

Usage: asyncio_updater.py REF
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TYPE_CHECKING

from ostree_sweep import OstreeSweepError, aio

if TYPE_CHECKING:
    from collections.abc import Coroutine

# An update waits no longer than this for a cleanup.
_PATIENCE_S = 60


async def main(ref: str) -> None:
    """Stages the newest commit of a ref, with a cleanup beside what comes before."""
    cleanup = asyncio.create_task(clean_up())
    try:
        update = await ask_for_update(ref)
        await asyncio.wait_for(cleanup, _PATIENCE_S)
    except asyncio.TimeoutError:
        print("the cleanup goes on after the next reboot")
    finally:
        cleanup.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cleanup
    print(f"staging {update}")
    await run("ostree", "admin", "deploy", "--stage", ref)
    planned = await aio.plan()
    print(f"staged; {planned.objects} objects will have to go")


async def clean_up() -> None:
    """Cleans up if that is due. A cleanup that fails stops no update."""
    try:
        report = await aio.auto_cleanup(progress=lambda progress: print(progress.phase))
    except (OstreeSweepError, OSError) as error:
        print(f"no cleanup: {error}")
    else:
        print(f"cleaned up: {report.ran}, {report.objects_pruned} objects")


async def ask_for_update(ref: str) -> str:
    """Yours asks a server, and pulls. This one only looks what the ref holds."""
    return await run("ostree", "rev-parse", "--repo=/ostree/repo", ref)


async def cancelled_by_signals(work: Coroutine[None, None, None]) -> None:
    """Runs work until it's done, or SIGTERM or SIGINT cancels it."""
    task = asyncio.create_task(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


async def run(*command: str) -> str:
    """Runs a command; returns what it prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {process.returncode}")
    return output.decode().strip()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(cancelled_by_signals(main(sys.argv[1])))
