#!/bin/bash
# One file with `chattr +i` in an old deployment stops every later update, and `ostree admin cleanup`.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: the directory of a deployment is immutable itself, and libostree takes that off before it removes it, so
#           files in it are no obstacle; at worst that one deployment stays on the disk.
# Seen:     the update that drops the deployment makes the new one and exits 1. From then on no update does
#           anything: each ends at that file, before its checkout. `ostree admin cleanup` ends there, too, and
#           deletes nothing, neither old deployments nor objects.
# Why:      the attribute is taken off the deployment's own directory and nothing below. A deployment begins with
#           the cleanup that the last one may have left undone, and a cleanup ends with its first error.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
deploy() {
    commit_os "$1" >>checksums
    ostree admin deploy --sysroot=sysroot --os=os "${@:2}" os/stable
}
deployments() { find sysroot/ostree/deploy/os/deploy -mindepth 1 -maxdepth 1 -type d | wc -l; }
for version in 1 2; do deploy $version; done
setting=sysroot/ostree/deploy/os/deploy/$(head -n 1 checksums).0/etc/setting
chattr +i "$setting"
check 'the third deployment is made, and the command fails' eval '! deploy 3 2>&1'
check 'it is listed' grep --quiet "$(tail -n 1 checksums)" <(ostree admin status --sysroot=sysroot)
check 'the fourth fails' eval '! deploy 4 2>&1'
check 'it is not listed' eval '! ostree admin status --sysroot=sysroot | grep "$(tail -n 1 checksums)"'
ostree --repo=sysroot/ostree/repo commit --orphan tree >/dev/null
before=$(commits sysroot/ostree/repo)
check 'a cleanup fails' eval '! ostree admin cleanup --sysroot=sysroot 2>&1'
check 'and deletes no commit' [ "$(commits sysroot/ostree/repo)" = "$before" ]
check 'two deployments are listed, three are there' \
    [ "$(ostree admin status --sysroot=sysroot | grep --count '^ *os ') $(deployments)" = '2 3' ]
chattr -i "$setting"
check 'without the attribute the fourth is made' deploy 4
check 'and two are left' [ "$(deployments)" = 2 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 e2fsprogs
see
debian trixie ostree=2025.2-1 e2fsprogs
see
