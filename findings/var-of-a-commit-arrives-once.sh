#!/bin/bash
# What a commit has in /var reaches the machine with the first deployment of a stateroot, and never again: not in
# later versions, not after it was deleted.
#
# Software: ostree 2025.2-1 (trixie), and 2022.7-2+deb12u1 (bookworm), where it never does; 2026.4-1 does as 2025.2.
# Expected: /var is the machine's, and OSTree leaves it alone, as 2022.7 does ("will be ignored"); or a version's
#           new files in /var come with that version, as those in /etc do.
# Seen:     2025.2 copies the first version's /var into the stateroot's, and the second's is passed over, new files
#           included. What the stateroot deletes stays deleted. All of it is checked out with each deployment as
#           well, where a mount hides it, and `ostree admin status` of a system says nothing of it.
# Why:      since 2024.3 /var is filled when it is empty, as a container's volume is. A test with a fresh
#           installation does not show what an updated machine lacks.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
deploy() {
    ostree --repo=sysroot/ostree/repo commit --branch=os/stable --owner-uid=0 --owner-gid=0 tree >/dev/null
    ostree admin deploy --sysroot=sysroot --os=os os/stable 2>&1
}
os_tree tree 1
mkdir -p tree/var/lib/app
echo 1 >tree/var/lib/app/first
deploy
var=sysroot/ostree/deploy/os/var/lib/app
case $(ostree --version) in
*2022.7*) check 'the stateroot has nothing of it' [ ! -e $var/first ] ;;
*) check 'the stateroot has it' [ -e $var/first ] ;;
esac
rm -f $var/first
echo 2 >tree/usr/version
echo 2 >tree/var/lib/app/second
deploy
check "the second version's file does not arrive" [ ! -e $var/second ]
check 'what was deleted does not come back' [ ! -e $var/first ]
check 'both are in the deployment' [ "$(ls sysroot/ostree/deploy/os/deploy/*/var/lib/app/second | wc -l)" = 1 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
