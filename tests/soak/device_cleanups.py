"""Steps of a device: cleanups, undisturbed and disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Callable

from disturbances import ENOUGH_S, fill, injected, run, stopped_children
from support.checkouts import bound, leave
from support.sysroots import started, wait_until

if TYPE_CHECKING:
    from device import Device

_BUSY = 75


def cleanup(device: Device) -> None:
    """An undisturbed cleanup."""
    options = device.dice.choice(([], ["--jobs=1"], ["--lock-slice=0.005"], ["--auto"]))
    if "--auto" in options:
        device.stamp()
    if device.dice.random() < 0.5:
        # Booted by the stand-in, an idle run can't tell the device's disk from a busy machine, and waits.
        options.append(device.dice.choice(("--impact=full", "--impact=balanced")))
        expected = device.reference(lambda copy: device.boot("ostree admin cleanup", sysroot=copy))
        device.cleaned(device.boot(*device.command(*options, sysroot=False)), expected)
    else:
        options.append(device.dice.choice(("--impact=full", "--impact=balanced", "--impact=idle")))
        expected = device.reference(lambda copy: copy.admin("cleanup"))
        device.cleaned(run(*device.command(*options)), expected)


def bounded_cleanup(device: Device) -> None:
    """A cleanup within bounds, and one that finishes the work."""
    device.orphan()
    device.stamp()
    limit = device.dice.choice(("--max-freed=4K", "--time-budget=0.02", "--max-unlinks=2000"))
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    done = run(*device.command("--auto", "--impact=full", limit))
    device.expect(done)
    device.stamped = None
    device.cleaned(done, expected, complete=False)
    device.stamp()
    device.cleaned(run(*device.command("--auto", "--impact=full")), expected)


def killed_cleanup(device: Device) -> None:
    """A cleanup is killed, and often another one finishes the work."""
    _disturbed(device, "KILL")


def terminated_cleanup(device: Device) -> None:
    """A cleanup is terminated, and often another one finishes the work."""
    _disturbed(device, "TERM")


def _disturbed(device: Device, name: str) -> None:
    device.orphan()
    device.stamp()
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    disturbed = injected(device.dice, f"signal={name}", "unlinkat", 150)
    done = run(*disturbed, *device.command("--auto", "--impact=full"))
    cut_off = done.returncode != 0
    device.diary.event(f"{name}, {'in' if cut_off else 'after'} the cleanup")
    device.cleaned(done, expected, complete=not cut_off)
    device.look()
    if cut_off and device.dice.random() < 0.6:
        device.cleaned(run(*device.command("--auto", "--impact=full")), expected)


def stopped_cleanup(device: Device) -> None:
    """A cleanup is stopped, the device is checked, and the cleanup goes on."""
    device.orphan()
    device.stamp()
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    trace = device.precious.with_name("trace")
    disturbed = injected(device.dice, "signal=STOP", "unlinkat", 150, trace)
    command = [*disturbed, *device.command("--auto", "--impact=full")]
    with started(*command) as process:
        wait_until(lambda: bool(stopped_children(process.pid, trace)) or process.poll() is not None)
        if process.poll() is None:
            device.diary.event("STOP, in the cleanup")
            device.stamped = None
            device.look()
        # Each thread counts its calls for itself, and may be the next that stops all.
        while process.poll() is None:
            for child in stopped_children(process.pid, trace):
                os.kill(child, signal.SIGCONT)
            time.sleep(0.05)
        out, errors = process.communicate()
    done = subprocess.CompletedProcess(command, process.returncode, out, errors)
    device.cleaned(done, expected)


def two_cleanups(device: Device) -> None:
    """Two cleanups at once: both ours, or one of them libostree's."""
    device.orphan()
    device.stamp()
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    ours = device.command("--auto", "--impact=full")
    theirs = ["ostree", "admin", f"--sysroot={device.sysroot.path}", "cleanup"]
    second = device.dice.choice((ours, theirs))
    processes = [started(*ours), started(*second)]
    for command, process in zip((ours, second), processes):
        out, errors = process.communicate(timeout=ENOUGH_S)
        if process.returncode not in (0, _BUSY):
            # libostree fails if somebody else removes what it is about to remove.
            if command is ours:
                device.diary.differs("exit status", f"{process.returncode} {out} {errors}")
            else:
                device.diary.event("libostree's cleanup failed beside another one")
    device.stamp()
    device.cleaned(run(*ours), expected)


def cleanup_on_a_full_disk(device: Device) -> None:
    """A cleanup on a full disk, and one with room again."""
    device.orphan()
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    filling = device.precious.with_name("filling")
    fill(filling)
    try:
        done = run(*device.command("--impact=full"))
    finally:
        filling.unlink()
    if done.returncode not in (0, 3):
        device.expect(done)
    device.cleaned(done, expected, complete=done.returncode == 0)
    device.cleaned(run(*device.command("--impact=full")), expected)


def cleanup_with_a_mount(device: Device) -> None:
    """A cleanup removes all but what is mounted in a checkout that no deployment needs."""
    device.stamp()
    leftover = leave(device.sysroot, 7, device.booted.split(".")[0])
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    with bound(device.precious, leftover / "usr" / "share"):
        done = run(*device.command("--auto", "--impact=full"))
        if done.returncode != 3 and not device.control:
            device.diary.differs("exit status", f"beside a mount: {done}")
        device.cleaned(done, expected, complete=False)
        device.look()
    if leftover.exists() or not device.control:
        device.cleaned(run(*device.command("--auto", "--impact=full")), expected)


def cleanup_without_boot(device: Device) -> None:
    """/boot is not mounted: a cleanup refuses to work, and nothing is gone when /boot is back."""
    device.stamp()
    boot = device.sysroot.path / "boot"
    before = device.sysroot.state()
    boot.rename(boot.with_name("away"))
    boot.mkdir()
    done = run(*device.command("--auto", "--impact=full"))
    subprocess.run(["rm", "-rf", boot], check=True)
    boot.with_name("away").rename(boot)
    if not device.control:
        if done.returncode != 1:
            device.diary.differs("exit status", f"without /boot: {done}")
        if device.sysroot.state() != before:
            device.diary.lost("without /boot", done)


# How often each step comes in a deck of them.
CLEANUPS: dict[Callable[[Device], None], int] = {
    cleanup: 3,
    bounded_cleanup: 1,
    killed_cleanup: 2,
    terminated_cleanup: 1,
    stopped_cleanup: 1,
    two_cleanups: 1,
    cleanup_on_a_full_disk: 1,
    cleanup_with_a_mount: 1,
    cleanup_without_boot: 1,
}
