#!/bin/bash
# A commit to an alias does not move the branch that it stands for: it makes the alias a branch of its own,
# silently.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: an alias (`ostree refs --create=current --alias os/41`) is a symbolic ref: either a commit to it moves
#           the branch, as git moves the branch that HEAD stands for, or it is refused.
# Seen:     the commit has the branch's tip as its parent, exits 0, and the alias's symlink is replaced by a file.
#           The branch stays where it was; `ostree refs --list --alias` is empty. From then on the two diverge, and
#           a pruner that passes over aliases has another branch to keep. `ostree refs --delete os/41`, refused
#           while it has an alias, goes through.
# Why:      refs are written to a temporary file that is renamed over the old one; only readers follow the symlink.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
mkdir tree
echo 1 >tree/file
first=$(ostree --repo=repo commit --branch=os/41 tree)
ostree --repo=repo refs --create=current --alias os/41
check 'current is an alias' [ -L repo/refs/heads/current ]
check 'a branch that has an alias can not be deleted' eval '! ostree --repo=repo refs --delete os/41 2>&1'
echo 2 >tree/file
second=$(ostree --repo=repo commit --branch=current tree)
check 'the commit continues the branch' \
    grep -q "^Parent: *$first" <(ostree --repo=repo show current)
check 'the branch has not moved' [ "$(ostree --repo=repo rev-parse os/41)" = "$first" ]
check 'the alias has' [ "$(ostree --repo=repo rev-parse current)" = "$second" ]
check 'it is no alias any more' [ ! -L repo/refs/heads/current ]
check 'the branch can be deleted' ostree --repo=repo refs --delete os/41
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
