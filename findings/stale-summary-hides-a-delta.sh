#!/bin/bash
# A new static delta is invisible to clients as long as the server has a summary from before; without any summary
# they find it.
#
# Software: ostree 2025.2-1 (trixie); 2022.7 and 2026.4-1 do the same.
# Expected: a delta has a path that follows from its two commits, so a client that knows both can ask for it. The
#           summary only makes it faster; a missing one is worse than an old one.
# Seen:     with the summary of before, a client does not ask for the delta but loads objects, and
#           --require-static-deltas fails. After the summary is deleted the same client asks by the path, and uses
#           the delta.
# Why:      a summary says where deltas are listed (in itself or in delta-indexes), and a delta that is not listed
#           counts as none. `ostree static-delta generate` updates no list; `ostree summary --update` does.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
mkdir tree
head --bytes=500000 /dev/urandom >tree/file
old=$(ostree --repo=server commit --branch=main tree)
echo more >>tree/file
ostree --repo=server commit --branch=main tree >/dev/null
ostree --repo=server summary --update
ostree --repo=server static-delta generate main >/dev/null 2>&1
serve server

# Whether a client at the old commit loads a part of a delta.
pull() {
    rm -rf client
    ostree --repo=client init --mode=bare-user
    ostree --repo=client remote add --no-gpg-verify server "$url"
    ostree --repo=client pull server "main@$old" >/dev/null
    : >requests
    ostree --repo=client pull "$@" server main >/dev/null
    grep --text --quiet 'GET /deltas/.*/0 ' requests
}

check 'with the old summary no delta is used' eval '! pull'
check 'nor found where it is required' eval '! pull --require-static-deltas 2>&1'
mv server/summary summary
check 'without a summary it is' pull
mv summary server/summary
check 'with the old one put back it is not' eval '! pull'
ostree --repo=server summary --update
check 'with a new one it is' pull
EOF
}

debian trixie ostree=2025.2-1 python3
see
