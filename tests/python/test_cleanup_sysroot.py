"""Cleaning up after a staged deployment: what `ostree admin cleanup` leaves, and nothing else, is left."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from support.sysroots import BRANCH, COMMAND, ENOUGH_S, Sysroot, locked, output, started, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostree_sweep import Progress

pytestmark = pytest.mark.needs_root

NOTHING_TO_DO = "No cleanup needed.\n"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where sysroots may be made. They are removed, and no mount may be left."""
    yield tmp_path
    for directory in tmp_path.glob("*/ostree"):
        Sysroot(directory.parent).remove()
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


@pytest.fixture
def updated(place: Path) -> Sysroot:
    """A sysroot whose third version was staged and finalized, with a stamp. The first's objects are left."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.update(booted, 3, then=f"{COMMAND} stamp")
    return sysroot


def cleanup(sysroot: Sysroot, *options: str) -> str:
    return output(COMMAND, "cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}", *options)


def newest(sysroot: Sysroot) -> str:
    return sysroot.ostree("rev-parse", BRANCH).strip()


def assert_cleans_as_ostree(sysroot: Sysroot, booted: str | None = None) -> None:
    """Cleans up a sysroot that has something to clean up, and a copy by `ostree`, and compares.

    Args:
        sysroot: has a stamp.
        booted: checksum of the commit whose deployment is booted, if one is.
    """
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    before = sysroot.objects()
    if booted is None:
        reference.admin("cleanup")
        cleanup(sysroot)
    else:
        reference.boot(booted, "ostree", "admin", "cleanup")
        sysroot.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full")

    state = sysroot.state()
    assert state == reference.state()
    assert state.objects < before
    assert not sysroot.stamp.exists()
    sysroot.ostree("fsck")

    left = sysroot.listing()
    again = (
        cleanup(sysroot)
        if booted is None
        else sysroot.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full").stdout
    )
    assert again == NOTHING_TO_DO
    assert sysroot.listing() == left


@pytest.mark.parametrize("boot", [False, True], ids=["offline", "booted"])
def test_frees_what_a_finalized_deployment_left(updated: Sysroot, boot: bool) -> None:
    assert json.loads(updated.stamp.read_text(encoding="utf-8"))["version"] == 1
    assert_cleans_as_ostree(updated, newest(updated) if boot else None)


@pytest.mark.parametrize("boot", [False, True], ids=["offline", "booted"])
def test_what_was_rolled_back_from_is_freed(place: Path, boot: bool) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    rollback = sysroot.deploy(1)
    dropped = sysroot.deploy(2)
    sysroot.update(rollback, 3, then=f"{COMMAND} stamp")
    kept = sysroot.objects_of(rollback)

    assert_cleans_as_ostree(sysroot, rollback if boot else None)
    assert kept < sysroot.objects()
    assert f"{dropped}.commit" not in sysroot.objects()


@pytest.mark.parametrize("boot", [False, True], ids=["offline", "booted"])
def test_a_pinned_deployment_stays(place: Path, boot: bool) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    pinned = sysroot.deploy(1)
    second = sysroot.deploy(2)
    sysroot.admin("pin", "1")
    third = sysroot.update(second, 3)
    fourth = sysroot.update(third, 4, then=f"{COMMAND} stamp")
    kept = sysroot.objects_of(pinned)

    assert_cleans_as_ostree(sysroot, fourth if boot else None)
    assert kept < sysroot.objects()
    assert f"{second}.commit" not in sysroot.objects()


@pytest.mark.parametrize("boot", [False, True], ids=["offline", "booted"])
def test_another_stateroot_stays(place: Path, boot: bool) -> None:
    sysroot = Sysroot.create(place / "sysroot", "os", "other")
    other = sysroot.deploy(1, stateroot="other", branch="other/stable")
    sysroot.ostree("refs", "--delete", "other/stable")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.update(booted, 3, then=f"{COMMAND} stamp")
    kept = sysroot.objects_of(other)

    assert_cleans_as_ostree(sysroot, newer if boot else None)
    assert kept < sysroot.objects()


def test_a_staged_deployment_stays(place: Path) -> None:
    """Nothing but the staged deployment holds its commit; it is finalized after the cleanup."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    sysroot.deploy(2)
    booted = sysroot.deploy(3)
    staged = sysroot.commit(4)
    orphan = sysroot.commit(5, "test")
    sysroot.ostree("refs", "--delete", "test")
    reference = sysroot.copy(place / "reference")
    kept = sysroot.objects_of(staged)

    for each, command in ((reference, "ostree admin cleanup"), (sysroot, f"{COMMAND} cleanup")):
        each.boot(
            booted,
            f"ostree admin deploy --stage {BRANCH}\n"
            f"ostree refs --delete {BRANCH}\n"
            f"{command}\n"
            "test -e /run/ostree/staged-deployment\n"
            "(cd /ostree/repo && find objects refs -type f | sort) > /var/left\n"
            "ostree admin finalize-staged\n",
        )
    left, left_by_ostree = (
        (each.path / "ostree/deploy/os/var/left").read_text(encoding="ascii") for each in (sysroot, reference)
    )
    assert left == left_by_ostree
    assert sysroot.state() == reference.state()
    assert kept < sysroot.objects()
    assert f"{orphan}.commit" not in sysroot.objects()
    assert sysroot.deployment(staged).is_dir()
    sysroot.ostree("fsck")


def test_a_dry_run_tells_the_truth_and_changes_nothing(updated: Sysroot) -> None:
    before, objects = updated.listing(), updated.objects()
    told = json.loads(cleanup(updated, "--dry-run", "--json"))
    status = json.loads(output(COMMAND, "status", "--json", f"--sysroot={updated.path}"))
    assert updated.listing() == before

    done = json.loads(cleanup(updated, "--json"))
    assert done["objects_pruned"] == len(objects - updated.objects()) > 0
    assert figures(told) == figures(done)
    shown = status["reclaimable"]
    assert (shown["objects"], shown["bytes"]) == (done["objects_pruned"], done["bytes_freed"])
    assert told["dry_run"]
    assert told["stamp_removed"] is done["stamp_removed"] is True


def test_a_dry_run_in_a_booted_system_changes_nothing(updated: Sysroot) -> None:
    before, booted = updated.listing(), newest(updated)
    told = json.loads(
        updated.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full", "--dry-run", "--json").stdout
    )
    assert updated.listing() == before
    done = json.loads(updated.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full", "--json").stdout)
    assert figures(told) == figures(done)


def figures(report: dict[str, Any]) -> dict[str, Any]:
    names = ("ran", "objects_total", "objects_pruned", "bytes_freed", "by_type", "deltas_pruned", "failures")
    return {name: report[name] for name in names}


def test_a_stamp_made_by_touch_will_do(updated: Sysroot) -> None:
    updated.stamp.unlink()
    assert cleanup(updated) == NOTHING_TO_DO
    updated.stamp.touch()
    assert_cleans_as_ostree(updated)


@pytest.mark.parametrize("renewal", ["stamp", "touch"])
def test_a_stamp_renewed_meanwhile_survives(updated: Sysroot, renewal: str) -> None:
    renew = (
        ["touch", updated.stamp] if renewal == "touch" else [COMMAND, "stamp", f"--sysroot={updated.path}"]
    )
    with locked(updated.repo / ".lock"):
        process = started(
            COMMAND, "cleanup", "--auto", "--impact=full", "--lock-timeout=-1", f"--sysroot={updated.path}"
        )
        # Only what has read the stamp loads the core.
        wait_until(lambda: "_core" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"))
        output(*renew)
    process.communicate(timeout=ENOUGH_S)
    assert process.returncode == 0
    assert updated.stamp.exists()

    cleanup(updated)
    assert not updated.stamp.exists()
    assert cleanup(updated) == NOTHING_TO_DO


def test_a_stamp_renewed_in_the_sweep_survives(updated: Sysroot) -> None:
    phases = []

    def renew(progress: Progress) -> None:
        phases.append(progress.phase)
        updated.stamp.touch()

    report = ostree_sweep.auto_cleanup(updated.path, impact="full", progress=renew)
    assert phases
    assert report.objects_pruned > 0
    assert not report.stamp_removed
    assert updated.stamp.exists()


# Cleans up while another thread of the process keeps trying to write to /sysroot, which must never succeed.
BESIDE_ANOTHER_THREAD = """
import errno, json, os, threading
import ostree_sweep

def mounts(thread):
    with open(f"/proc/self/task/{thread}/mountinfo") as file:
        return file.read()

def write_on():
    native.append(threading.get_native_id())
    while not over.is_set():
        try:
            os.close(os.open("/sysroot/intruder", os.O_CREAT | os.O_WRONLY))
        except OSError as error:
            attempts.append(error.errno)
        else:
            attempts.append(0)
    mounted.append(mounts(native[0]))

native, attempts, mounted, over = [], [], [mounts(os.getpid())], threading.Event()
other = threading.Thread(target=write_on)
other.start()
try:
    report = ostree_sweep.cleanup("/")
    mounted.append(mounts(os.getpid()))
finally:
    over.set()
    other.join()
print(json.dumps({
    "pruned": report.objects_pruned,
    "stamp_removed": report.stamp_removed,
    "mounts_unchanged": mounted[0] == mounted[1] == mounted[2],
    "read_only": set(attempts) == {errno.EROFS},
}))
"""


def test_a_read_only_sysroot_is_cleaned_up_unseen(place: Path) -> None:
    make_read_only = "mount -o remount,bind,ro /sysroot\n"
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.ostree("config", "set", "sysroot.readonly", "true")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.update(
        booted, 3, then=f"{make_read_only} {COMMAND} stamp; ! touch /sysroot/intruder 2>&1"
    )
    reference = sysroot.copy(place / "reference")
    reference.boot(newer, f"{make_read_only} ostree admin cleanup")

    program = shlex.join([sys.executable, "-c", BESIDE_ANOTHER_THREAD])
    before = sysroot.objects()
    done = json.loads(sysroot.boot(newer, make_read_only + program).stdout)
    assert done == {
        "pruned": len(before - sysroot.objects()),
        "stamp_removed": True,
        "mounts_unchanged": True,
        "read_only": True,
    }
    assert sysroot.state() == reference.state()
    assert sysroot.objects() < before
    sysroot.ostree("fsck")


def test_a_dry_run_needs_no_writable_sysroot(updated: Sysroot) -> None:
    before = updated.listing()
    done = updated.boot(
        newest(updated),
        f"mount -o remount,bind,ro /sysroot\n{COMMAND} cleanup --auto --dry-run --json",
    )
    assert updated.listing() == before
    assert (
        json.loads(done.stdout)["objects_pruned"] == json.loads(cleanup(updated, "--json"))["objects_pruned"]
    )
