#!/bin/bash
# On ext4 a tree with many equal files can't be checked out by hard links only; without -H the rest silently become
# copies.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie), ext4; 2026.4-1 does the same.
# Expected: `ostree checkout --require-hardlinks` fails only where links aren't possible at all, as across file
#           systems. A checkout without it shares every file with the repository.
# Seen:     66,000 files of one byte, the same in all, are one object. After 64,999 links -H ends with "Too many
#           links" and leaves what it has done. Without -H the other 1,001 files are copies, exit 0. Several
#           checkouts share that limit: two of 33,000 files, as in two deployments, meet it as well. Empty files are
#           copied always, even with -H. So a link count of 1 does not tell that a file was changed, and a prune
#           does not free what a checkout has copied.
# Why:      ext4 takes 65,000 links for an inode.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    truncate --size=1G "$root/work/image"
    mkfs.ext4 -q -N 300000 "$root/work/image"
    inside <<'EOF'
mkdir disk
mount -o loop image disk
cd disk
ostree --repo=repo init --mode=bare-user
ostree --repo=repo config set core.min-free-space-percent 0
mkdir many
for directory in {1..66}; do
    mkdir many/$directory
    (cd many/$directory && printf x | tee {1..1000} >/dev/null)
done
ostree --repo=repo commit --branch=many --canonical-permissions many >/dev/null
rm -r many
files() { find "$1" -type f "${@:2}" | wc -l; }
check 'they are one object' [ "$(files repo/objects -name '*.file')" = 1 ]

check 'with -H it fails' eval '! ostree --repo=repo checkout -U --require-hardlinks many linked 2>&1'
check 'after 64,999 links' [ "$(files linked)" = 64999 ]
rm -r linked
check 'without -H it does not' ostree --repo=repo checkout -U many mixed
check '1,001 of 66,000 files are copies' [ "$(files mixed -links 1) $(files mixed)" = '1001 66000' ]
rm -r mixed

mkdir half empty
ostree --repo=repo checkout -U many all
mv all/{1..33} half
rm -r all
ostree --repo=repo commit --branch=half --canonical-permissions half >/dev/null
rm -r half
ostree --repo=repo checkout -U half first
ostree --repo=repo checkout -U half second
check 'of two checkouts of 33,000 the first has no copies' [ "$(files first -links 1)" = 0 ]
check 'the second has 1,001' [ "$(files second -links 1)" = 1001 ]

: >empty/file
ostree --repo=repo commit --branch=empty --canonical-permissions empty >/dev/null
ostree --repo=repo checkout -U --require-hardlinks empty empty-linked
check 'an empty file is a copy, even with -H' [ "$(files empty-linked -links 1)" = 1 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
