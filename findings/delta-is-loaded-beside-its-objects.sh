#!/bin/bash
# With 2022.7 a pull by a static delta loads most of the delta's objects as well, one by one, which can cost more
# than a pull without deltas. And a mirror in archive mode never uses a delta at all.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) for the first, 2025.2-1 (trixie) for how it should be; 2026.4-1 does
#           the same as 2025.2.
# Expected: where a delta leads from what the client has to what it wants, the client loads the delta instead of
#           objects.
# Seen:     three files of 500 kB, changed by two bytes each: a delta of 10 to 40 kB. A bare-user client of 2022.7
#           loads it, and in most pulls some or all of the whole files, too; 2025.2 loads none. An archive client
#           asks for no delta, in both versions, and loads all three.
# Why:      2022.7 begins to walk the new commit while the delta is still being applied, and asks for what is
#           missing as yet. For an archive repository everything in the delta would have to be compressed anew.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=server init --mode=archive
mkdir tree
for name in 1 2 3; do head --bytes=500000 /dev/urandom >tree/$name; done
old=$(ostree --repo=server commit --branch=main tree)
for name in 1 2 3; do echo x >>tree/$name; done
ostree --repo=server commit --branch=main tree >/dev/null
ostree --repo=server static-delta generate main >/dev/null 2>&1
ostree --repo=server summary --update
serve server

pull() {
    rm -rf "$1"
    ostree --repo="$1" init --mode="$1"
    ostree --repo="$1" remote add --no-gpg-verify server "$url"
    ostree --repo="$1" pull server "main@$old" >/dev/null
    before=$(wc -l <requests)
    ostree --repo="$1" pull server main | tail --lines=1
    tail --lines="+$((before + 1))" requests >"$1.requests"
    parts=$(grep --count 'GET /deltas/.*/0 ' "$1.requests") || true
    files=$(grep --count 'GET /objects/.*filez' "$1.requests") || true
    echo "   $1: $parts parts of deltas, $files files"
}

all=0
for try in {1..8}; do
    pull bare-user
    check "the bare-user client loads the delta ($try)" [ "$parts" = 1 ]
    all=$((all + files))
done
case $(ostree --version) in
*2022.7*) check 'and whole files, too' [ "$all" -ge 1 ] ;;
*) check 'and nothing else' [ "$all" = 0 ] ;;
esac
pull archive
check 'the archive client loads no delta but all files' [ "$parts $files" = '0 3' ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 python3
see
debian trixie ostree=2025.2-1 python3
see
