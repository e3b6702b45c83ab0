#!/bin/bash
# `ostree prune --keep-younger-than` (or --retain-branch-depth, --only-branch) deletes commits that no ref holds,
# however young, though nobody said --refs-only.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: without --refs-only every commit in the repository is kept (as a plain `ostree prune` does); a rule to
#           keep more keeps more. So a commit made a second ago stays.
# Seen:     each of the three options turns the run into one of refs only: the orphan is deleted, exit 0. That loses
#           commits that a builder made with --orphan, to be given a ref after their tests.
# Why:      with any of these options the command takes another way through the code, which starts from the refs.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
for option in --keep-younger-than='1 week ago' --retain-branch-depth=main=-1 --only-branch=main; do
    rm -rf repo
    ostree --repo=repo init --mode=archive
    mkdir -p tree
    echo released >tree/file
    ostree --repo=repo commit --branch=main tree >/dev/null
    echo candidate >tree/file
    ostree --repo=repo commit --orphan tree >/dev/null
    ostree --repo=repo prune >/dev/null
    check 'a plain prune keeps the orphan' [ "$(commits repo)" = 2 ]
    ostree --repo=repo prune "$option"
    check "$option deletes it" [ "$(commits repo)" = 1 ]
done
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
