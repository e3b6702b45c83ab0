"""An updater that wants a lock gets it while the cleanup deletes, not after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from image import BRANCH
from machine import Machine
from support.sysroots import Sysroot
from updates import CLEANUP, STAGE, WRITES_PER_S, property_of

if TYPE_CHECKING:
    from pathlib import Path

    from machine import Moment
    from updates import Updated

# A writer takes the repository's lock; its caller has made the sysroot writable.
_COMMIT = (
    "unshare -m sh -euc 'mount -o remount,rw /sysroot; "
    f"ostree --repo=/sysroot/ostree/repo commit --branch=other --tree=ref={BRANCH}'"
)


def test_an_updater_gets_its_locks_before_the_cleanup_ends(
    updated: Updated, deleting: Moment, disk: Path
) -> None:
    with Machine.resumed(deleting, disk, writes_per_s=WRITES_PER_S) as machine:

        def take(command: str) -> str:
            """Runs what takes a lock, and says what it prints."""
            output = machine.output(command)
            objects = machine.output("find /sysroot/ostree/repo/objects -mindepth 2 | wc -l")
            garbage = int(objects) - len(updated.objects)
            print(f"{garbage} objects were still to go after: {command}")
            # The commit is one more.
            assert garbage > 1
            return output

        take("ostree admin pin 0")
        take("ostree admin pin --unpin 0")
        commit = take(_COMMIT)
        take(STAGE)
        machine.wait_for_console("cleanup ends")
        machine.run(f"while systemctl is-active {CLEANUP} | grep -q activating; do sleep 0.1; done; sync")
        assert property_of(machine, CLEANUP, "Result") == "success"
    # Nothing else is new: what was committed and staged is there already.
    with machine.disk.mounted("loop") as root:
        assert Sysroot(root).objects() == updated.objects | {f"{commit}.commit"}
        Sysroot(root).ostree("fsck")
