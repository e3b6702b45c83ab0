"""An update on a real system, from staging to the boot after the cleanup."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from machine import Machine
from support.sysroots import Sysroot
from updates import (
    CANCELLED,
    CLEANED_UP,
    CLEANUP,
    FINALIZED,
    STAGE,
    check_clean,
    journal,
    objects,
    objects_after_ostree,
    property_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from image import Disk
    from updates import Updated


# An open file description's lock, as libostree takes it: fcntl(F_OFD_SETLK, F_WRLCK).
HOLD_THE_LOCK = """\
python3 - >/dev/null 2>&1 <<'PROGRAM' &
import fcntl, os, struct, time
lock = os.open("/sysroot/ostree/lock", os.O_RDWR | os.O_CREAT)
fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", 1, 0, 0, 0, 0))
time.sleep(8)
PROGRAM
"""


OTHER_CLEANUP = """\
[Unit]
ConditionPathExists=/sysroot/.cleanup
DefaultDependencies=no
After=local-fs.target

[Service]
Type=oneshot
ExecStart=/usr/bin/ostree admin cleanup
ExecStartPost=/bin/mount -o remount,rw /sysroot
ExecStartPost=/bin/rm -f /sysroot/.cleanup
"""


@pytest.mark.parametrize("initial", ["read-only", "writable"], indirect=True, scope="session")
def test_an_update_is_cleaned_up_in_the_next_boot_and_only_then(updated: Updated, disk: Path) -> None:
    own = updated.disk.copy(disk)
    with own.mounted() as root:
        assert json.loads((root / ".cleanup").read_text())["version"] == 1

    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.wait_for_console("cleanup ends")
        reached, begun, ended = (
            int(property_of(machine, unit, name))
            for unit, name in (
                ("multi-user.target", "ActiveEnterTimestampMonotonic"),
                (CLEANUP, "ExecMainStartTimestampMonotonic"),
                (CLEANUP, "ExecMainExitTimestampMonotonic"),
            )
        )
        assert 0 < reached <= begun < ended
        assert property_of(machine, CLEANUP, "Result") == "success"
        assert machine.output("systemctl is-system-running") == "running"
        (message,) = journal(machine, "--boot", f"MESSAGE_ID={CLEANED_UP}")
        figures = {name: message[f"OSTREE_SWEEP_{name}"] for name in ("OBJECTS_PRUNED", "STAMP_REMOVED")}
        assert figures == {
            "OBJECTS_PRUNED": str(len(updated.before - updated.objects)),
            "STAMP_REMOVED": "1",
        }
        status = machine.run(f"systemctl status --full {CLEANUP}", check=False).output
        assert f"Deleted {figures['OBJECTS_PRUNED']} objects" in status
        assert 'Status: "done' in status
        machine.reboot()
    check_clean(own, updated.objects)

    with Machine(own) as machine:
        machine.wait_for_agent()
        assert property_of(machine, CLEANUP, "ConditionResult") == "no"
        # Nothing was staged, so nothing is asked for.
        machine.reboot()
    check_clean(own, updated.objects)


@pytest.mark.parametrize(("budget_s", "is_enough"), [(60, True), (0.1, False)])
def test_a_plan_is_applied_at_shutdown_as_far_as_the_time_goes(
    updated: Updated, initial: Disk, disk: Path, *, budget_s: float, is_enough: bool
) -> None:
    own = initial.copy(disk)
    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.run(f"{STAGE} && ostree-sweep plan")
        machine.run(f"mkdir -p /run/systemd/system/{FINALIZED}.d")
        setting = f"[Service]\\nEnvironment=OSTREE_SWEEP_TIME_BUDGET={budget_s}\\n"
        machine.run(f"printf '{setting}' >/run/systemd/system/{FINALIZED}.d/budget.conf")
        machine.run("systemctl daemon-reload")
        machine.reboot()
    if is_enough:
        check_clean(own, updated.objects)
        return
    left = objects(own)
    assert left > updated.objects
    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.wait_for_console("cleanup ends")
        (message,) = journal(machine, "--boot", f"MESSAGE_ID={CLEANED_UP}")
        assert message["OSTREE_SWEEP_OBJECTS_PRUNED"] == str(len(left - updated.objects))
        # It went on where the shutdown had stopped.
        assert message["OSTREE_SWEEP_BY_PLAN"] == "1"
        machine.reboot()
    check_clean(own, updated.objects)


def test_nothing_is_asked_for_where_nothing_was_finalized(initial: Disk, disk: Path) -> None:
    own = initial.copy(disk)
    stamp = "/sysroot/.cleanup"
    # Without the path unit, which would start them again while something is staged.
    finalize = f"systemctl stop ostree-finalize-staged.path ostree-finalize-staged.service {FINALIZED}"
    with Machine(own) as machine:
        machine.wait_for_agent()

        def asked() -> bool:
            """Stops what finalizes, and says whether that asked for a cleanup."""
            machine.run(finalize)
            return machine.run(f"test -e {stamp}", check=False).status == 0

        stage = f"systemctl start ostree-finalize-staged.path; {STAGE}"

        # Whoever staged it has not given it free yet.
        machine.run(f"{stage} && touch /run/ostree/staged-deployment-locked")
        assert not asked()
        # It was taken back.
        machine.run(f"rm /run/ostree/staged-deployment-locked; {stage}")
        machine.run("ostree admin undeploy 0")
        assert not asked()
        # It fails: neither a boot loader's entry nor a stamp.
        machine.run(f"{stage} && chattr +i /boot")
        assert not asked()
        assert "Failed with result" in machine.output("journalctl --boot -u ostree-finalize-staged")
        machine.run("chattr -i /boot")
        # It succeeds.
        machine.run(stage)
        assert asked()


def test_who_is_told_to_stop_stops_and_who_wants_a_lock_gets_it(updated: Updated, disk: Path) -> None:
    own = updated.disk.copy(disk)
    with Machine(own) as machine:
        machine.wait_for_agent()

        def stop() -> None:
            seconds = float(machine.output(f"cut -d' ' -f1 /proc/uptime; systemctl stop {CLEANUP}"))
            seconds = float(machine.output("cut -d' ' -f1 /proc/uptime")) - seconds
            print(f"stopped after {seconds:.2f} s")
            # A fraction of a second where the processor isn't emulated.
            assert seconds < 5
            assert property_of(machine, CLEANUP, "Result") == "success"
            assert machine.run("test -e /sysroot/.cleanup", check=False).status == 0

        # While it starts, which is before it can catch a signal.
        stop()
        # While it deletes.
        machine.run(f"systemctl start --no-block {CLEANUP}")
        machine.run(f"until systemctl show -p StatusText {CLEANUP} | grep -qE 'sweep|done'; do :; done")
        stop()
        (message,) = journal(machine, "--boot", f"MESSAGE_ID={CANCELLED}")
        assert int(message["OSTREE_SWEEP_OBJECTS_PRUNED"]) < len(updated.before - updated.objects)

        # An updater that works holds both; the service waits for it.
        machine.run("mount -o remount,rw /sysroot")
        machine.run(HOLD_THE_LOCK)
        machine.run(f"systemctl start --no-block {CLEANUP}; sleep 6")
        assert property_of(machine, CLEANUP, "ActiveState") == "activating"

        # The service gets its turn, and an updater that comes then gets its own beside it.
        machine.run("touch /sysroot/.cleanup && ostree admin pin 0 && ostree admin pin --unpin 0")
        machine.run(f"while systemctl is-active {CLEANUP} | grep -q activating; do sleep 0.2; done")
        assert property_of(machine, CLEANUP, "Result") == "success"
        machine.run(f"systemctl start {CLEANUP}; sync")
    check_clean(own, updated.objects)


def test_another_cleanup_by_the_same_stamp_does_no_harm(updated: Updated, disk: Path) -> None:
    """As where an updater has units of its own, which remove the stamp after `ostree admin cleanup`."""
    own = updated.disk.copy(disk)
    with own.mounted("loop") as root:
        for etc in root.glob("ostree/deploy/os/deploy/*.0/etc/systemd/system"):
            (etc / "other-cleanup.service").write_text(OTHER_CLEANUP)
            (etc / "multi-user.target.wants" / "other-cleanup.service").symlink_to("../other-cleanup.service")
    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.run("until systemctl is-system-running --wait; do false; done", check=False)
        for unit in (CLEANUP, "other-cleanup.service"):
            assert property_of(machine, unit, "Result") == "success"
        machine.reboot()
    check_clean(own, updated.objects)


def test_the_machine_is_what_it_is_taken_for(initial: Disk) -> None:
    with initial.mounted() as root:
        assert len(list(root.glob("ostree/deploy/os/deploy/*.0"))) == 2
        Sysroot(root).ostree("fsck")
    assert objects(initial) == objects_after_ostree(initial)
