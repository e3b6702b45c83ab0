#!/bin/bash
# Each `ostree admin deploy` cuts the histories of all branches in the system's repository to their tips, also of
# branches that have nothing to do with the deployment.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: a deployment drops deployments that are due, and what only these held. A branch that somebody keeps in
#           /ostree/repo, with the history that was committed or pulled (--depth=-1), stays as `ostree prune` would
#           keep it.
# Seen:     of three commits of a branch of local work the first deployment leaves the last one. The command prints
#           nothing of it (2022.7: "Freed objects"). `ostree admin cleanup` does it, too; `ostree admin deploy
#           --no-prune` does not.
# Why:      a system's cleanup prunes by refs at depth 0: an update has no use for what came before it.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
repo=sysroot/ostree/repo
commit_os 1 >/dev/null
work() {
    for number in 1 2 3; do
        echo "$number" >tree/file
        ostree --repo=$repo commit --branch=local/work tree >/dev/null
    done
}
history() { ostree --repo=$repo log local/work | grep --count ^commit; }
work
check 'the branch has three commits' [ "$(history)" = 3 ]
ostree admin deploy --sysroot=sysroot --os=os --no-prune os/stable
check 'a deployment without prune keeps them' [ "$(history)" = 3 ]
ostree admin deploy --sysroot=sysroot --os=os os/stable
check 'a deployment leaves one' [ "$(history)" = 1 ]
work
check 'with three more it has four' [ "$(history)" = 4 ]
ostree admin cleanup --sysroot=sysroot
check 'a cleanup leaves one' [ "$(history)" = 1 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
