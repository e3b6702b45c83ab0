#!/bin/bash
# `ostree pull REMOTE BRANCH@COMMIT`, to have an old version to look at, moves the client's branch back to it, and
# the next prune deletes the newest version.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: BRANCH says where to look, COMMIT what to load, and the ref stays at the newer commit, of which the
#           older one is an ancestor; or the pull refuses to go back, as `ostree admin upgrade` does.
# Seen:     the ref is at the old commit, exit 0. `ostree prune --refs-only` then deletes the newest. The other way,
#           `ostree pull REMOTE COMMIT`, leaves the ref alone and makes none for what it loads, which the same prune
#           deletes.
# Why:      a pull sets the ref to what was pulled; the order of commits plays no part without --timestamp-check.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
mkdir tree
echo 1 >tree/file
old=$(ostree --repo=server commit --branch=main --timestamp=@1700000000 tree)
echo 2 >tree/file
new=$(ostree --repo=server commit --branch=main --timestamp=@1700000001 tree)
ostree --repo=client init --mode=bare-user
ostree --repo=client remote add --no-gpg-verify server "file://$PWD/server"
has() { ostree --repo=client show "$1" >/dev/null 2>&1; }

ostree --repo=client pull server main
ostree --repo=client pull server "main@$old"
check 'the branch is at the old commit' [ "$(ostree --repo=client rev-parse server:main)" = "$old" ]
ostree --repo=client prune --refs-only
check 'the newest is deleted' eval '! has $new'
ostree --repo=client pull server main
ostree --repo=client prune --refs-only --depth=0
ostree --repo=client pull server "$old"
check 'by its checksum the old one is loaded' has "$old"
check 'the branch stays' [ "$(ostree --repo=client rev-parse server:main)" = "$new" ]
ostree --repo=client prune --refs-only --depth=0
check 'the old one is deleted' eval '! has $old'
check 'with --timestamp-check the pull is refused' \
    eval '! ostree --repo=client pull --timestamp-check server "main@$old" 2>&1'
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
