#!/usr/bin/python3
"""An updater over PyGObject: three steps, each run by a unit of its own, with their status in the log.

Usage:
    pygobject_updater.py update REMOTE:REF  pulls and stages an update, and plans what to delete after it
    pygobject_updater.py finalized          at shutdown, after the finalization: asks for a cleanup
    pygobject_updater.py booted             after the reboot: does the cleanup, if one is due
"""

from __future__ import annotations

import logging
import signal
import sys

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import OSTree  # noqa: E402 - the version comes first

import ostree_sweep  # noqa: E402

log = logging.getLogger("updater")


def update(refspec: str) -> None:
    """Pulls a ref and stages it, unless it is booted already."""
    sysroot = OSTree.Sysroot.new_default()
    # In this order: it makes /sysroot writable for this process alone, and `load` is needed before all else.
    sysroot.initialize()
    sysroot.load(None)
    sysroot.lock()
    try:
        repo, booted = sysroot.repo(), sysroot.get_booted_deployment()
        remote, ref = refspec.split(":", 1)
        repo.pull(remote, [ref], OSTree.RepoPullFlags.NONE, None, None)
        _, commit = repo.resolve_rev(refspec, False)
        if commit == booted.get_csum():
            log.info("up to date: %s", commit)
            return
        origin = sysroot.origin_new_from_refspec(refspec)
        sysroot.stage_tree(booted.get_osname(), commit, origin, booted, None, None)
    finally:
        sysroot.unlock()
    log.info("staged: %s", commit)
    # It takes the repository's shared lock only, so others need not wait for the sysroot's meanwhile.
    made = ostree_sweep.plan()
    log.info("planned: %d objects, %d bytes to delete after the reboot", made.objects, made.bytes)


def finalized() -> None:
    """Asks for a cleanup, durably: it is done after the reboot, whatever happens until then."""
    note = ostree_sweep.request_cleanup()
    log.info("cleanup requested at %s", note.time)


def booted() -> None:
    """Cleans up if a cleanup is due; SIGTERM stops it within moments, and the next boot goes on."""
    token = ostree_sweep.CancellationToken()
    signal.signal(signal.SIGTERM, lambda *_: token.cancel())
    phase = ""

    def tell(now: ostree_sweep.Progress) -> None:
        nonlocal phase
        if now.phase != phase:
            phase = now.phase
            log.info("phase: %s", phase)

    try:
        report = ostree_sweep.auto_cleanup(cancellable=token, progress=tell)
    except ostree_sweep.OperationCancelled as stopped:
        log.info("stopped: %d bytes freed so far", stopped.report.bytes_freed if stopped.report else 0)
    except ostree_sweep.LockTimeoutError as busy:
        log.warning("not now: %s", busy)
    except ostree_sweep.PartialCleanupError as partial:
        for failure in partial.report.failures:
            log.warning("left: %s: %s", failure.path, failure.error)
    else:
        log.info("ran: %s, %d objects, %d bytes", report.ran, report.objects_pruned, report.bytes_freed)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stdout)
    {"update": update, "finalized": finalized, "booted": booted}[sys.argv[1]](*sys.argv[2:])
