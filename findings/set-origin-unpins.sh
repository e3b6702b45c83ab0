#!/bin/bash
# `ostree admin set-origin` unpins the deployment, silently.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: the command changes where updates come from. A pin, which says that no update may remove the deployment,
#           has nothing to do with that and stays.
# Seen:     the pinned deployment is unpinned, exit 0, and the next two updates remove it.
# Why:      the pin is kept in the origin file (section libostree-transient), and the command writes a new one.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
good=$(commit_os 1)
ostree admin deploy --sysroot=sysroot --os=os os/stable
ostree admin pin --sysroot=sysroot 0
check 'the deployment is pinned' grep -q 'Pinned: yes' <(ostree admin status --sysroot=sysroot)
ostree admin set-origin --sysroot=sysroot --index=0 vendor http://127.0.0.1/repo os/stable
check 'it is not any more' eval '! ostree admin status --sysroot=sysroot 2>&1 | grep Pinned'
for version in 2 3; do
    commit_os $version >/dev/null
    ostree admin deploy --sysroot=sysroot --os=os os/stable
done
check 'two updates later it is gone' [ ! -e "sysroot/ostree/deploy/os/deploy/$good.0" ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
