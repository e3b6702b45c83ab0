#!/bin/bash
# After `ostree prune --delete-commit` of one bad commit, the next `ostree prune --refs-only` deletes all of the
# history behind it.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: the commit that was named is gone, its ancestors stay; --refs-only without --depth keeps whole
#           histories.
# Seen:     --delete-commit itself, and plain prunes, keep the ancestors. A later prune by refs deletes them all,
#           exit 0, and fsck passes. The tombstone that is written for the deleted commit is no bridge.
# Why:      a history is a chain of single links, and the one that led to the ancestors was in the deleted commit. A
#           missing parent is no error, as shallow pulls leave the same.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
mkdir tree
for number in 1 2 3 4 5; do
    echo $number >tree/file
    ostree --repo=repo commit --branch=main tree
done >list
ostree --repo=repo prune --delete-commit="$(sed -n 4p list)"
check 'there is a tombstone' [ "$(find repo/objects -name '*.tombstone-commit' | wc -l)" = 1 ]
ostree --repo=repo prune
check 'plain prunes keep the other four commits' [ "$(commits repo)" = 4 ]
ostree --repo=repo prune --refs-only
check 'by refs one is left of five' [ "$(commits repo)" = 1 ]
check 'fsck passes' sound repo
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
