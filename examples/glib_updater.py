#!/usr/bin/python3
"""An updater with a GLib main loop: cleans up after its last update, then stages the next one.

The work runs in a thread, which `Gio.Task` would do in C; the main loop goes on meanwhile. One
`Gio.Cancellable` stops libostree's work and the cleanup alike.

Usage: glib_updater.py REF
"""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from typing import Callable

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, GLib, OSTree  # noqa: E402 - the version comes first

from ostree_sweep import (  # noqa: E402
    CleanupReport,
    LockTimeoutError,
    OperationCancelled,
    PartialCleanupError,
    Progress,
    PrunePlan,
    auto_cleanup,
    plan,
)


class Updater:
    """One run. All methods but `_work` run in the main loop's thread."""

    def __init__(self, ref: str) -> None:
        self._ref = ref
        self._loop = GLib.MainLoop()
        self._cancellable = Gio.Cancellable()
        self._status = 0

    def run(self) -> int:
        """Runs until all is done, or SIGTERM or SIGINT cancels it; returns an exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            GLib.unix_signal_add(GLib.PRIORITY_HIGH, number, self._cancellable.cancel)
        thread = threading.Thread(target=self._work)
        thread.start()
        self._loop.run()
        thread.join()
        return self._status

    def _work(self) -> None:
        try:
            # First of all: the next update may need the space.
            self._clean_up()
            self._stage()
            self._in_loop(self._planned, plan(cancellable=self._cancellable))
        except OperationCancelled:
            self._in_loop(self._stopped, "cancelled", 0)
        except Exception as error:  # whatever it is, the main loop is told
            self._in_loop(self._stopped, str(error), 1)
        self._in_loop(self._loop.quit)

    def _clean_up(self) -> None:
        try:
            report = auto_cleanup(
                cancellable=self._cancellable, progress=partial(self._in_loop, self._progressed)
            )
        except PartialCleanupError as error:
            # What is left is tried again next time. That's no reason not to update.
            self._in_loop(print, f"left: {error}")
        except LockTimeoutError as error:
            self._in_loop(print, f"somebody else is at work: {error}")
        else:
            self._in_loop(self._cleaned_up, report)

    def _stage(self) -> None:
        sysroot = OSTree.Sysroot.new_default()
        # The sysroot is read-only for all but who asks.
        sysroot.initialize()
        sysroot.load(self._cancellable)
        booted = sysroot.get_booted_deployment()
        _, commit = sysroot.repo().resolve_rev(self._ref, False)
        if commit == booted.get_csum():
            return
        origin = sysroot.origin_new_from_refspec(self._ref)
        sysroot.stage_tree(booted.get_osname(), commit, origin, booted, None, self._cancellable)

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        GLib.idle_add(lambda: call(*arguments) and None)

    def _progressed(self, progress: Progress) -> None:
        print(f"{progress.phase}: {progress.done}/{progress.total or '?'}")

    def _cleaned_up(self, report: CleanupReport) -> None:
        print(f"cleaned up: {report.ran}, {report.objects_pruned} objects, {report.bytes_freed} bytes")

    def _planned(self, made: PrunePlan) -> None:
        print(f"staged; {made.objects} objects will have to go")

    def _stopped(self, why: str, status: int) -> None:
        print(why)
        self._status = status


if __name__ == "__main__":
    sys.exit(Updater(sys.argv[1]).run())
