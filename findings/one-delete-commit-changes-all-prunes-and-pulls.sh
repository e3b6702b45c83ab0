#!/bin/bash
# After one `ostree prune --delete-commit`, each commit that any prune deletes leaves a file that nothing ever
# deletes, and clients that pull with a depth fail on branches that have nothing to do with it.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: the option deletes one commit, of one branch, this time.
# Seen:     it sets core.tombstone-commits=true in the repository. From then on a plain `ostree prune --refs-only
#           --depth=0` leaves a COMMIT.tombstone-commit for each commit it deletes, in no count, and no later prune
#           deletes those. A client's `ostree pull --depth=1` of a branch whose older commits were pruned before
#           worked until then, and ends with "HTTP 404" now. After core.tombstone-commits is set to false the pull
#           works again.
# Why:      tombstones tell clients that a missing parent is missing on purpose. Clients look for the setting in the
#           server's summary, and then its config; where it is set, a parent with neither commit nor tombstone
#           counts as damage.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
mkdir tree
build() {
    for number in 1 2 3 4; do
        echo "$1 $number" >tree/file
        ostree --repo=server commit --branch="$1" tree
    done >list
}
tombstones() { find server/objects -name '*.tombstone-commit' | wc -l; }
pull() {
    rm -rf client
    ostree --repo=client init --mode=bare-user
    ostree --repo=client remote add --no-gpg-verify server "$url"
    ostree --repo=client pull --depth=1 server main 2>&1
}
build main
ostree --repo=server prune --refs-only --depth=0
check 'a prune leaves no tombstones' [ "$(tombstones)" = 0 ]
ostree --repo=server summary --update
serve server
check 'a client pulls with a depth of 1' pull

build other
ostree --repo=server prune --delete-commit="$(sed -n 3p list)"
check 'one commit was deleted by name, with a tombstone' [ "$(tombstones)" = 1 ]
check "the client can't pull main any more" eval '! pull'
build third
ostree --repo=server prune --refs-only --depth=0
ostree --repo=server prune --refs-only --depth=0
check 'a plain prune leaves one for each commit, and the next keeps them' [ "$(tombstones)" -ge 4 ]
ostree --repo=server config set core.tombstone-commits false
check 'without the setting the client can pull' pull
ostree --repo=server prune --refs-only --depth=0
check 'the tombstones stay' [ "$(tombstones)" -ge 4 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 python3
see
debian trixie ostree=2025.2-1 python3
see
