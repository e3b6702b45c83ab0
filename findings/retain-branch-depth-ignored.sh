#!/bin/bash
# `ostree prune --retain-branch-depth=BRANCH=0` is no rule at all, and a misspelt branch in it is no error.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: main=0 keeps nothing but main's tip, as --depth=0 does; a branch that does not exist is refused, as it
#           is by --only-branch.
# Seen:     main=0 counts as if it had not been given: without --depth all of main's history is kept, with --depth=2
#           three commits. With a branch that does not exist the command exits 0, and the branch that was meant
#           loses the history it should have retained.
# Why:      the rules are kept in a table of pointers, where a depth of 0 and "no entry" are the same NULL; names of
#           branches are only ever looked up, by the refs that there are.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
mkdir tree
for number in 1 2 3 4; do
    echo $number >tree/file
    ostree --repo=repo commit --branch=main tree >/dev/null
done

would_delete() {
    ostree --repo=repo prune --no-prune --commit-only "$@" | sed -n 's/^Would delete: \([0-9]*\).*/\1/p'
}

check '--depth=0 would delete three commits' [ "$(would_delete --refs-only --depth=0)" = 3 ]
check 'main=0 would delete none' [ -z "$(would_delete --retain-branch-depth=main=0)" ]
check 'main=0 with --depth=2 would delete one' [ "$(would_delete --depth=2 --retain-branch-depth=main=0)" = 1 ]
check '--only-branch refuses a misspelt branch' eval '! ostree --repo=repo prune --only-branch=mian 2>/dev/null'
ostree --repo=repo prune --depth=0 --retain-branch-depth=mian=-1
check '--retain-branch-depth does not, and the history is gone' [ "$(commits repo)" = 1 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
