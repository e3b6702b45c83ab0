#!/bin/bash
# A static delta made with --inline, "all in one file", does not hold large files, and what is applied from one that
# does is garbage to the next prune.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: `ostree static-delta generate --empty --inline --filename=FILE` makes a file that holds the commit, and
#           `ostree static-delta apply-offline FILE` puts the commit where it can be used and stays.
# Seen:     for a tree with a file of 9 MB the delta is under 2 kB: generating exits 0, applying it offline fails.
#           With --min-fallback-size=0 it holds all and applies, but there is no ref: `ostree prune --refs-only`
#           deletes all.
# Why:      files above 4 MiB are left to be loaded as objects ("fallback"); --inline only says where the parts are
#           written. A delta names commits, not branches.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=source init --mode=archive
mkdir tree
head --bytes=9000000 /dev/urandom >tree/file
ostree --repo=source commit --branch=main tree >/dev/null
generate() { ostree --repo=source static-delta generate --empty --inline "$@" --to=main >/dev/null; }
ostree --repo=target init --mode=bare-user

check 'a delta is made' generate --filename="$PWD/small"
check 'it has under 2 kB' [ "$(stat --format=%s small)" -lt 2000 ]
check 'it can not be applied' eval '! ostree --repo=target static-delta apply-offline small 2>&1'
check 'one without fallback is made' generate --min-fallback-size=0 --filename="$PWD/whole"
check 'it can be' ostree --repo=target static-delta apply-offline whole
check 'the commit is there' [ "$(commits target)" = 1 ]
check 'no ref is' [ -z "$(ostree --repo=target refs)" ]
ostree --repo=target prune --refs-only
check 'a prune deletes all' [ "$(commits target)" = 0 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
