#!/bin/bash
# The check of min-free-space counts objects that the repository has already: to commit the same tree again, or a
# thousand equal files, can be refused although nothing would be written.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie). 2026.4-1 gives back what it counted for
#           objects that were there, so small ones pass, but still refuses one larger than the budget.
# Expected: a commit of a tree that is in the repository takes a few hundred bytes, so it goes through on a disk
#           with 20 MB to spare above the limit.
# Seen:     after 40 MB of files of 1 MB were committed, the same commit again is refused ("would be exceeded"); so
#           is one of 6,000 files of one equal byte, with room for 5,000 blocks. With the check off both go through,
#           and less than 1 MB is written.
# Why:      the budget is charged as a file comes in; whether its object is there turns out when its checksum is
#           known. So a device that is short of room can not even repeat a commit.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    truncate --size=100M "$root/work/image"
    mkfs.ext4 -q -m 0 -b 4096 -N 20000 "$root/work/image"
    inside <<'EOF'
mkdir disk
mount -o loop image disk
ostree --repo=disk/repo init --mode=bare-user
mkdir tree equal
for number in {1..40}; do head --bytes=1000000 /dev/urandom >tree/$number; done
(cd equal && printf x | tee {1..6000} >/dev/null)
commit() { ostree --repo=disk/repo commit --branch=main --canonical-permissions "$@" 2>&1; }
free() { df --block-size=1 --output=avail disk | tail --lines=1; }
commit tree
ostree --repo=disk/repo config set core.min-free-space-size "$(($(free) / 1000000 - 20))MB"
before=$(free)
check 'the same tree is refused' eval '! commit tree'
check '6,000 equal files are refused' eval '! commit equal'
ostree --repo=disk/repo config set core.min-free-space-size 0MB
check 'without the check the tree goes through' commit tree
check 'and the equal files' commit equal
echo "   $((before - $(free))) bytes were written"
check 'less than 1 MB was written' [ $((before - $(free))) -lt 1000000 ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1
see
