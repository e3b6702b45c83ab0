#!/bin/bash
# `ostree admin switch` deletes the ref of the old branch, although another stateroot follows it.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: the stateroot that was switched follows another branch; what others follow is theirs.
# Seen:     "Deleting ref 'vendor:stable'": the ref is gone while the deployments of another stateroot, and the
#           rollback, have it as their origin. The update that was pulled for the other stateroot, and lived by that
#           ref alone, is garbage to the next cleanup, so it has to be downloaded again.
# Why:      the command looks at the one deployment that it replaces, and not at the origins of the others.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot one two
repo=sysroot/ostree/repo
ostree --repo=server init --mode=archive
version=0
build() {
    os_tree tree $((++version))
    ostree --repo=server commit --branch="$1" --owner-uid=0 --owner-gid=0 tree >/dev/null
}
build stable
build devel
ostree --repo=$repo remote add --no-gpg-verify vendor "file://$PWD/server"
ostree --repo=$repo pull vendor stable devel >/dev/null
for stateroot in one two; do ostree admin deploy --sysroot=sysroot --os=$stateroot vendor:stable; done
build stable
ostree --repo=$repo pull vendor stable >/dev/null
update=$(ostree --repo=$repo rev-parse vendor:stable)
check 'the update is there' ostree --repo=$repo show "$update"
ostree admin switch --sysroot=sysroot --os=one vendor:devel
ostree admin status --sysroot=sysroot
check 'two follows the branch' grep --quiet refspec=vendor:stable sysroot/ostree/deploy/two/deploy/*.origin
check 'the branch is gone' eval '! ostree --repo=$repo refs | grep vendor:stable'
ostree admin cleanup --sysroot=sysroot
check 'after a cleanup so is the update' eval '! ostree --repo=$repo show $update 2>&1'
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
