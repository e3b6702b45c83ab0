#!/bin/bash
# A mirror keeps the branches that its source has deleted, although its own summary no longer lists them.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: `ostree pull --mirror` of everything makes the copy equal to the source; what the source dropped is
#           garbage at the next prune.
# Seen:     the mirror takes over the source's summary, in which the branch is missing, and keeps the ref. So
#           `ostree remote refs` of a client shows no such branch, `ostree refs` on the mirror does, and the
#           mirror's prune keeps its commits for ever.
# Why:      a pull without names pulls the branches in the summary; nothing deletes refs. The summary is copied as
#           it is, for its signature's sake.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=source init --mode=archive
mkdir tree
for branch in main retired; do
    echo $branch >tree/file
    ostree --repo=source commit --branch=$branch tree >/dev/null
done
ostree --repo=source summary --update
serve source
ostree --repo=mirror init --mode=archive
ostree --repo=mirror remote add --no-gpg-verify source "$url"
ostree --repo=mirror pull --mirror source >/dev/null

ostree --repo=source refs --delete retired
ostree --repo=source prune --refs-only
ostree --repo=source summary --update
ostree --repo=mirror pull --mirror source >/dev/null
check "the mirror's summary is the source's, which lists one branch" \
    [ "$(sha256sum <mirror/summary)" = "$(sha256sum <source/summary)" ]
check 'the mirror has two' [ "$(ostree --repo=mirror refs | wc -l)" = 2 ]
ostree --repo=mirror prune --refs-only --depth=0
check 'and keeps both' [ "$(commits mirror)" = 2 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 python3
see
debian trixie ostree=2025.2-1 python3
see
