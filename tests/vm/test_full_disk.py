"""A disk that is full when an update is finalized: the units still ask for a cleanup, which makes room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from machine import Machine
from updates import CLEANUP, FINALIZED, LONG, STAGE, check_clean, property_of

if TYPE_CHECKING:
    from pathlib import Path

    from image import Disk
    from updates import Updated

FILL = {
    "data": """
mkdir /var/fill
for size in 256M 16M 1M 64K 4K; do
    number=0
    while fallocate -l $size /var/fill/$size-$number; do number=$((number + 1)); done
done
""",
    "inodes": """
mkdir /var/fill
python3 - <<'PROGRAM' || true
for number in range(10_000_000):
    if number % 20_000 == 0:
        import os
        os.mkdir(f"/var/fill/{number}")
    open(f"/var/fill/{number // 20_000 * 20_000}/{number}", "x").close()
PROGRAM
""",
}

# Stopped after what finalizes and before what asks for a cleanup: the reverse of the order of their start.
BETWEEN = f"""\
[Unit]
After={FINALIZED}
Before=ostree-finalize-staged.service
PartOf=ostree-finalize-staged.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh /run/fill
TimeoutStopSec=infinity
"""

# Of the blocks that are free some are nobody's to use.
FREE = {"data": "%a", "inodes": "%d"}


@pytest.mark.parametrize("used_up", ["data", "inodes"] if LONG else ["data"])
def test_a_full_disk_is_cleaned_up(updated: Updated, initial: Disk, disk: Path, used_up: str) -> None:
    own = initial.copy(disk)
    free = f"stat -f -c {FREE[used_up]} /sysroot"
    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.run("systemctl start ostree-sweep-prepare.service && test -e /sysroot/.cleanup.spare")
        machine.run(f"cat >/run/fill <<'END'\n{FILL[used_up]}END")
        machine.run(f"cat >/run/systemd/system/between.service <<'END'\n{BETWEEN}END")
        machine.run(f"systemctl daemon-reload && systemctl start between.service && {STAGE}")
        machine.run(f"systemctl stop ostree-finalize-staged.path ostree-finalize-staged.service {FINALIZED}")
        assert int(machine.output(free)) == 0
        assert machine.run("! touch /var/one-more || ! cp /proc/mounts /var/one-more").status == 0
        machine.run("test -e /sysroot/.cleanup && test ! -e /sysroot/.cleanup.spare")
        machine.reboot()

    with Machine(own) as machine:
        machine.wait_for_agent()
        machine.wait_for_console("cleanup ends")
        machine.run(f"while systemctl is-active {CLEANUP} | grep -q activating; do sleep 0.2; done")
        assert property_of(machine, CLEANUP, "Result") == "success"
        # The update's own files, of which each had a block or more.
        assert int(machine.output(free)) > 1000
        machine.reboot()
    check_clean(own, updated.objects)
