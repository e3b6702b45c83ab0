#!/bin/bash
# A commit that is promoted to a second branch by `ostree refs --create` can't be pulled by that branch.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: refs are names for commits, as in git: `stable` can be pointed to the tested commit of `devel`.
# Seen:     the server is content (fsck passes), and every client that pulls `stable` fails, because the commit says
#           in its metadata which branch it was made for. A ref made by --create --alias fails alike. What works:
#           commit the same tree anew to the branch, or bind the commit to both branches at the beginning
#           (--bind-ref).
# Why:      `ostree commit --branch` writes ostree.ref-binding, against servers that swap branches; clients check it
#           also where no signatures are asked for.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
ostree --repo=client init --mode=bare-user
ostree --repo=client remote add --no-gpg-verify vendor "file://$PWD/server"
mkdir tree
echo 1 >tree/file
ostree --repo=server commit --branch=devel tree >/dev/null
ostree --repo=server refs --create=stable devel
ostree --repo=server refs --create=alias --alias devel
check 'fsck passes on the server' sound server
for branch in stable alias; do
    check "a pull of $branch fails" eval '! ostree --repo=client pull vendor $branch 2>&1'
done
ostree --repo=server commit --branch=stable --tree=ref=devel >/dev/null
check 'the same tree committed anew can be pulled' ostree --repo=client pull vendor stable
ostree --repo=server commit --branch=next --bind-ref=future tree >/dev/null
ostree --repo=server refs --create=future next
check 'so can what is bound to both branches' ostree --repo=client pull vendor future
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
