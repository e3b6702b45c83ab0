#!/bin/bash
# `ostree admin status --sysroot=OTHER` makes the running system forget the soft reboot that is prepared.
#
# Software: ostree 2026.4-1 (forky); soft reboots are new in 2025.3.
# Expected: a look at the status writes nothing, least of all for another sysroot than the one that was asked for:
#           an image that is being built, a mounted disk.
# Seen:     /run/ostree/nextroot-booted, which says which deployment the next soft reboot goes to, is deleted.
#           `ostree admin status` of the system itself showed "(soft-reboot)" before and does not after. `ostree
#           admin os-init` of another sysroot does the same.
# Why:      each load of a sysroot reads that file, and takes it as stale if none of the sysroot's deployments is
#           the one meant. The path does not depend on which sysroot it is.
#
# The file is written here as `ostree admin prepare-soft-reboot` leaves it (a dictionary with the device and inode
# of the deployment), because the command itself needs a system booted with composefs.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
for version in 1 2; do
    commit_os $version >/dev/null
    ostree admin deploy --sysroot=sysroot --os=os os/stable
done
mkdir -p /run/ostree other another
ostree admin init-fs other
ostree admin init-fs another
prepare() {
    python3 - "$(find "$PWD"/sysroot/ostree/deploy/os/deploy -name '*.0' | head -n 1)" <<'PYTHON'
import os
import sys

from gi.repository import GLib

status = os.stat(sys.argv[1])
where = GLib.Variant("(tt)", (status.st_dev, status.st_ino))
content = GLib.Variant("a{sv}", {"backing-root-device-inode": where})
with open("/run/ostree/nextroot-booted", "wb") as file:
    file.write(content.get_data_as_bytes().get_data())
PYTHON
}

prepare
for look in 1 2; do
    check "the system's status shows the target ($look)" \
        grep --quiet '(soft-reboot)' <(ostree admin status --sysroot=sysroot)
done
ostree admin status --sysroot=other
check "the status of another sysroot deletes the system's file" [ ! -e /run/ostree/nextroot-booted ]
check 'no target is shown any more' eval '! ostree admin status --sysroot=sysroot | grep soft-reboot'
prepare
ostree admin os-init --sysroot=another os
check 'so does os-init' [ ! -e /run/ostree/nextroot-booted ]
EOF
}

debian forky ostree=2026.4-1 python3-gi gir1.2-glib-2.0
see
