#!/bin/bash
# `ostree fsck` passes a repository whose static delta is damaged, and clients can't update from it, although all
# objects are there.
#
# Software: ostree 2025.2-1 (trixie); 2026.4-1 does the same, and 2022.7 but for the later tries.
# Expected: a check of the repository covers all that clients are given; or a client that meets a bad delta falls
#           back to the objects, as it does where there is no delta.
# Seen:     fsck exits 0. A client at the delta's old commit fails with an error of decompression at each try, and
#           goes through with --disable-static-deltas. (With 2022.7 a later try can succeed, as it loads objects
#           beside the delta: see delta-is-loaded-beside-its-objects.sh.)
# Why:      fsck walks commits and objects. A delta is chosen before the first byte is loaded, and then it is the
#           only way.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
mkdir tree
head --bytes=300000 /dev/urandom >tree/file
old=$(ostree --repo=server commit --branch=main tree)
echo more >>tree/file
ostree --repo=server commit --branch=main tree >/dev/null
ostree --repo=server static-delta generate main >/dev/null
ostree --repo=server summary --update
serve server
ostree --repo=client init --mode=bare-user
ostree --repo=client remote add --no-gpg-verify server "$url"
ostree --repo=client pull server "main@$old" >/dev/null

truncate --size=100 server/deltas/*/*/0
check 'fsck passes' sound server
for try in 1 2; do
    check "the client's pull fails ($try)" eval '! ostree --repo=client pull server main 2>&1'
done
check 'without deltas it works' ostree --repo=client pull --disable-static-deltas server main
EOF
}

debian trixie ostree=2025.2-1 python3
see
