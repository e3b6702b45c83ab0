#!/bin/bash
# `ostree pull-local` between two repositories on one file system makes no copy: both share their files, and a prune
# of either frees nothing.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: a pull copies, as `rsync` does and as a pull by HTTP has to; so the second repository can serve as the
#           backup of the first, and what a prune says it freed is free.
# Seen:     with the same mode every file object is a hard link to the first repository's, so the second is
#           no backup. After the branch is pruned from the second, "40.0 MB freed", df shows no room more. With `ostree pull` of a file:// URL it is the same.
# Why:      an object's content is never to change, so a link is as good, and much quicker; the sum counts what is
#           unlinked.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    truncate --size=200M "$root/work/image"
    mkfs.ext4 -q "$root/work/image"
    inside <<'EOF'
mkdir disk
mount -o loop image disk
mkdir tree
head --bytes=40000000 /dev/urandom >tree/file
free() { sync --file-system disk; df --block-size=1M --output=avail disk | tail --lines=1; }
for mode in archive bare-user; do
    echo "-- $mode"
    ostree --repo=disk/one init --mode=$mode
    ostree --repo=disk/one commit --branch=main tree >/dev/null
    ostree --repo=disk/two init --mode=$mode
    ostree --repo=disk/two pull-local disk/one main
    ostree --repo=disk/three init --mode=$mode
    ostree --repo=disk/three remote add --no-gpg-verify one "file://$PWD/disk/one"
    ostree --repo=disk/three pull one main
    object=$(cd disk/one && find objects -name '*.file*')
    check 'the three objects are one file' [ "$(stat --format=%h disk/one/"$object")" = 3 ]
    before=$(free)
    ostree --repo=disk/two refs --delete main
    ostree --repo=disk/two prune --refs-only
    check 'the prune freed less than 1 MiB' [ $(($(free) - before)) -le 1 ]
    rm -r disk/one disk/two disk/three
done
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
