#!/bin/bash
# `ostree admin set-default` throws away an update that is staged, and does not say so.
#
# Software: ostree 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: the order of the deployments that are there changes, or the command refuses while an update is staged,
#           as `ostree admin pin` of a staged deployment is refused.
# Seen:     the staged deployment is gone from `ostree admin status`, exit 0, without a word: at the shutdown
#           nothing is finalized. `ostree admin pin` of another deployment keeps it.
# Why:      writing the list of deployments drops the staged one unless the list has it, and this command writes a
#           list without it.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
first=$(commit_os 1)
ostree admin deploy --sysroot=sysroot --os=os os/stable
second=$(commit_os 2)
ostree admin deploy --sysroot=sysroot --os=os os/stable
commit_os 3 >/dev/null
booted os "$second" '
    staged() { ostree admin status | grep --count "(staged)" || true; }
    ostree admin deploy --stage os/stable
    ostree admin status
    [ "$(staged)" = 1 ]
    ! ostree admin pin 0
    ostree admin pin 1
    [ "$(staged)" = 1 ]
    ostree admin set-default 2
    ostree admin status
    [ "$(staged)" = 0 ]
    ostree admin finalize-staged
' | tee output
check 'the staged deployment is gone' grep --quiet "$first" output
check 'no deployment of version 3 is left' [ "$(ls -d sysroot/ostree/deploy/os/deploy/*.0 | wc -l)" = 2 ]
EOF
}

debian trixie ostree=2025.2-1 systemd
see
