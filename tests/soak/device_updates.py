"""Steps of a device: updates, and what its users do."""

from __future__ import annotations

import subprocess
from typing import Callable

from device import OTHER_BRANCH, Device
from disturbances import injected
from support.sysroots import BRANCH, COMMAND, Sysroot

STAGE = f"ostree admin deploy --stage {BRANCH}"
FINALIZE = "ostree admin finalize-staged"

_WRITES = "unlinkat,renameat,symlinkat,linkat,mkdirat"


def update(device: Device) -> None:
    """An update is staged and finalized; the device boots into it."""
    device.commit(BRANCH)
    script = [STAGE]
    if not device.control:
        script += device.dice.choice(([], [f"{COMMAND} plan --impact=full"]))
    script.append(FINALIZE)
    if not device.control and device.dice.random() < 0.7:
        script.append(f"{COMMAND} stamp")
        device.stamped = True
    device.expect(device.boot("; ".join(script)))
    device.reboot()


def update_applied_at_shutdown(device: Device) -> None:
    """The same, with a plan that is applied before the device is down."""
    device.commit(BRANCH)

    def clean_up(sysroot: Sysroot) -> object:
        return device.boot(f"{STAGE}; {FINALIZE}; ostree admin cleanup", sysroot=sysroot)

    expected = device.reference(clean_up)
    if device.control:
        clean_up(device.sysroot)
    else:
        device.expect(
            device.boot(
                f"{STAGE}; {COMMAND} plan --impact=full; {FINALIZE}\n"
                f"{COMMAND} stamp; {COMMAND} apply --impact=full >&2"
            ),
        )
        # A plan that covers not all leaves the stamp.
        device.stamped = None
        state = device.sysroot.state()
        if expected.objects - state.objects:
            device.diary.lost("objects", sorted(expected.objects - state.objects)[:5])
    device.reboot()


def power_cut_before_finalization(device: Device) -> None:
    """What is staged is forgotten, and its checkout is left."""
    device.commit(BRANCH)
    device.expect(device.boot(STAGE))


def failed_finalization(device: Device) -> None:
    """Finalization can't write to /boot."""
    device.commit(BRANCH)
    boot = device.sysroot.path / "boot"
    subprocess.run(["chattr", "+i", boot], check=True)
    device.boot(f"{STAGE}; ! {FINALIZE}")
    subprocess.run(["chattr", "-i", boot], check=True)
    device.reboot()


def killed_finalization(device: Device) -> None:
    """Finalization is killed before any of its calls."""
    device.commit(BRANCH)
    kill = injected(device.dice, "signal=KILL", _WRITES, 60)
    device.boot(f"{STAGE}; {' '.join(kill)} {FINALIZE}")
    device.reboot()


def cleanup_while_staged(device: Device) -> None:
    """Nothing but what is staged holds its commit, and a cleanup runs; it is finalized afterwards, or not."""
    held = device.refs[BRANCH]
    staged = device.commit(BRANCH)
    then = device.dice.choice((FINALIZE, "true"))

    def script(cleanup: str) -> str:
        return (
            f"{STAGE}; ostree refs --delete {BRANCH}\n{cleanup}\ntest -e /run/ostree/staged-deployment\n"
            f"ostree refs --create={BRANCH} {staged}; {then}"
        )

    def clean_up(sysroot: Sysroot) -> object:
        return device.boot(script("ostree admin cleanup"), sysroot=sysroot)

    expected = device.reference(clean_up)
    done = device.boot(script(" ".join(device.command(sysroot=False))))
    if done.returncode != 0 and BRANCH not in device.sysroot.ostree("refs").split():
        device.refs[BRANCH] = held
    device.cleaned(done, expected)
    device.reboot()


def roll_back(device: Device) -> None:
    """The user boots another deployment."""
    device.booted = device.dice.choice(device.listed("os"))


def pin(device: Device) -> None:
    """The user pins a deployment, and unpins the others."""
    deployments = device.listed()
    for index in range(len(deployments)):
        subprocess.run(
            ["ostree", "admin", f"--sysroot={device.sysroot.path}", "pin", "--unpin", str(index)],
            check=False,
            capture_output=True,
        )
    device.sysroot.admin("pin", str(device.dice.randrange(len(deployments))))


def undeploy(device: Device) -> None:
    """The user undeploys one that isn't booted."""
    deployments = device.listed()
    others = [index for index, name in enumerate(deployments) if name != device.booted]
    if len(device.listed("os")) > 1 and others:
        device.sysroot.admin("undeploy", str(device.dice.choice(others)))


def deploy_offline(device: Device) -> None:
    """Somebody deploys without a boot, and leaves the cleanup to others or not."""
    stateroot, branch = device.dice.choice((("os", BRANCH), ("other", OTHER_BRANCH)))
    device.commit(branch)
    options = device.dice.choice(([], ["--no-prune"], ["--retain"], ["--no-prune", "--retain-pending"]))
    device.sysroot.admin("deploy", f"--os={stateroot}", *options, branch)
    device.reboot()


def users_branches(device: Device) -> None:
    """The user commits to branches of his own, names what is deployed, and drops what he doesn't need."""
    own = sorted(name for name in device.refs if name.startswith("user/"))
    if own and device.dice.random() < 0.4:
        device.drop(device.dice.choice(own))
    if device.dice.random() < 0.7:
        device.commit(f"user/{device.dice.randrange(4)}")
    else:
        named = f"user/named/{device.dice.randrange(3)}"
        commit = device.dice.choice(device.listed()).split(".")[0]
        device.sysroot.ostree("refs", "--force", f"--create={named}", commit)
        device.refs[named] = commit


def users_files(device: Device) -> None:
    """The user writes files of his own."""
    device.write_own(device.dice.choice(("data", "ostree/deploy/os/var/data", "ostree/deploy/other/var/new")))


def update_beside_a_cleanup(device: Device) -> None:
    """An updater stages while a cleanup is at work."""
    device.stamp()
    device.commit(BRANCH)
    cleanup = " ".join(device.command("--auto", "--impact=balanced", "--lock-slice=0.01", sysroot=False))
    delay = "strace -f -qq -o /dev/null -e trace=unlinkat -e inject=unlinkat:delay_enter=1000"
    done = device.boot(f"{delay} {cleanup} >&2 & sleep 0.2; {STAGE}; wait $!; {FINALIZE}")
    device.expect(done)
    device.stamped = None
    device.reboot()


def orphan(device: Device) -> None:
    """A commit loses its ref."""
    device.orphan()


# How often each step comes in a deck of them.
UPDATES: dict[Callable[[Device], None], int] = {
    update: 6,
    update_applied_at_shutdown: 1,
    update_beside_a_cleanup: 1,
    cleanup_while_staged: 1,
    power_cut_before_finalization: 1,
    failed_finalization: 1,
    killed_finalization: 1,
    roll_back: 1,
    pin: 1,
    undeploy: 1,
    deploy_offline: 2,
    users_branches: 3,
    users_files: 1,
    orphan: 2,
}
