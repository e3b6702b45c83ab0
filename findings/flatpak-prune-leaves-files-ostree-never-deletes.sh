#!/bin/bash
# `flatpak build-update-repo --prune`, once run on a plain OSTree repository, leaves a file for each commit that no
# later `ostree prune` deletes, and changes the repository's configuration.
#
# Software: flatpak 1.14.10-1~deb12u2 and ostree 2022.7-2+deb12u1 (bookworm); flatpak 1.18.4 with ostree 2026.4 does
#           the same.
# Expected: flatpak's prune is a faster `ostree prune`; afterwards either can be used. Whatever it keeps for speed
#           goes with the commit.
# Seen:     each commit gets a COMMIT.commitmeta2 beside it, with the names of all it reaches. `ostree prune`
#           deletes the commit and neither counts nor deletes that file, `ostree fsck` says nothing, and flatpak's
#           own prune, run after that, keeps it as well: it deletes the file only together with a commit. And a
#           repository without a single application gets core.indexed-deltas=true, a summary and a summary.idx.
# Why:      the suffix is flatpak's own; libostree's listing passes over names that it does not know.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
mkdir tree
for number in 1 2 3 4; do
    echo $number >tree/file
    ostree --repo=repo commit --branch=os/stable tree >/dev/null
done
caches() { find repo/objects -name '*.commitmeta2' | wc -l; }
flatpak build-update-repo --prune repo
check 'each commit has such a file' [ "$(commits repo) $(caches)" = '4 4' ]
check 'the configuration has changed' grep --quiet indexed-deltas=true repo/config
check 'there are summaries' [ -e repo/summary ] && [ -e repo/summary.idx ]
ostree --repo=repo prune --refs-only --depth=0
check 'ostree deletes three commits and leaves the files' [ "$(commits repo) $(caches)" = '1 4' ]
flatpak build-update-repo --prune --prune-depth=0 repo
check 'so does flatpak' [ "$(commits repo) $(caches)" = '1 4' ]
check 'fsck passes' sound repo
EOF
}

debian bookworm flatpak=1.14.10-1~deb12u2 ostree=2022.7-2+deb12u1
see
