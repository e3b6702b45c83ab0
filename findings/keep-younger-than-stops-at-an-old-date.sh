#!/bin/bash
# One commit with an old date makes `ostree prune --keep-younger-than` delete all the young commits behind it.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: "keep what is younger than a week" keeps five commits that were all made within a week, but for the one
#           whose date says otherwise.
# Seen:     the walk from the ref ends at the first commit that is too old, so its ancestors go, however young they
#           are. `ostree prune` exits 0 and `ostree fsck` passes. A build that sets the date for reproducibility
#           (--timestamp, SOURCE_DATE_EPOCH) is enough.
# Why:      dates are taken to fall along a history; nothing but the date of each commit says so.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
mkdir tree
for days in 5 4 3 2 1; do
    date=$(date --date="$days days ago" +%s)
    [ "$days" != 2 ] || date=1500000000
    echo "$days" >tree/file
    SOURCE_DATE_EPOCH=$date ostree --repo=repo commit --branch=main tree >/dev/null
done
ostree --repo=repo log main | grep Date
ostree --repo=repo prune --keep-younger-than='7 days ago'
check 'the four young commits became one' [ "$(commits repo)" = 1 ]
check 'fsck passes' sound repo
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
