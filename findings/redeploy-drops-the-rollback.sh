#!/bin/bash
# To deploy the running version again, as for a new kernel argument, deletes the only other version: what is left to
# roll back to is the same commit.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: a deployment that brings no new commit takes the place of the one that it copies, so the previous
#           version stays as the rollback.
# Seen:     booted is version 2, with version 1 to roll back to. After `ostree admin deploy --karg-append=…` of
#           version 2 there are two deployments of version 2, and version 1 is deleted at once, before the new one
#           was ever booted. `ostree admin unlock --hotfix` does the same, by its "non-hotfixed clone".
# Why:      the booted and the new deployment stay, and what is in neither place goes; whether they have the same
#           commit isn't looked at.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
for command in 'deploy --karg-append=quiet os/stable' 'unlock --hotfix'; do
    new_sysroot os
    first=$(commit_os 1)
    ostree admin deploy --sysroot=sysroot --os=os os/stable
    second=$(commit_os 2)
    ostree admin deploy --sysroot=sysroot --os=os os/stable
    check 'version 1 is the rollback' [ -d "sysroot/ostree/deploy/os/deploy/$first.0" ]
    booted os "$second" "ostree admin $command; ostree admin status"
    deployments=$(find sysroot/ostree/deploy/os/deploy -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | sort | xargs)
    check "after '$command' there is version 2, twice" [ "$deployments" = "$second.0 $second.1" ]
    check 'the commit of version 1 is deleted' eval '! ostree --repo=sysroot/ostree/repo show $first 2>&1'
    chattr -i sysroot/ostree/deploy/os/deploy/*.?
    rm -r sysroot
done
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 e2fsprogs
see
debian trixie ostree=2025.2-1 e2fsprogs
see
