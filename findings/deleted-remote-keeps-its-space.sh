#!/bin/bash
# `ostree remote delete` leaves the remote's refs, and these keep all that was pulled from it.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: a remote that was deleted, and whose name no command knows any more, holds no space after the next
#           prune.
# Seen:     its refs stay below refs/remotes, `ostree prune --refs-only --depth=0` finds nothing to delete, and
#           `ostree remote refs` does not know the remote. `ostree refs --delete` of the remote's name and a colon
#           fails with an error about a refspec that nobody wrote; it takes the full name of each ref.
# Why:      a remote is a section of the configuration and a keyring; refs belong to the repository.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
mkdir tree
echo 1 >tree/file
ostree --repo=server commit --branch=main tree >/dev/null
ostree --repo=repo init --mode=archive
ostree --repo=repo remote add --no-gpg-verify vendor "file://$PWD/server"
ostree --repo=repo pull vendor main >/dev/null
ostree --repo=repo remote delete vendor
check 'no remote is left' [ -z "$(ostree --repo=repo remote list)" ]
check 'its ref is' [ "$(ostree --repo=repo refs)" = vendor:main ]
ostree --repo=repo prune --refs-only --depth=0
check 'its commit, too' [ "$(commits repo)" = 1 ]
check 'ostree remote refs fails' eval '! ostree --repo=repo remote refs vendor 2>&1'
check 'the prefix deletes none' eval '! ostree --repo=repo refs --delete vendor: 2>&1'
ostree --repo=repo refs --delete vendor:main
ostree --repo=repo prune --refs-only --depth=0
check 'the full name does' [ "$(commits repo)" = 0 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
