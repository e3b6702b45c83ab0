#!/bin/bash
# In a container whose image holds an OSTree repository, a checkout by hard links copies all content, a prune frees
# nothing, and the repository's lock keeps nobody out.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie) on the kernel's overlayfs; 2026.4-1 does the
#           same.
# Expected: `ostree checkout --require-hardlinks` takes next to no space, "20.0 MB freed" are, and the process that
#           holds the exclusive lock of the repository has it to itself.
# Seen:     with the repository in the lower layer, the checkout of a file of 20 MB adds 20 MB to the upper one,
#           link count 2. The prune of another such file says it freed that, and df shows no byte more. While a
#           process that sees the lower directory holds the exclusive lock, a prune through the overlay takes the
#           same lock at once.
# Why:      a hard link is a change of the inode, so overlayfs first copies the file up, whole. What is deleted
#           becomes a whiteout. The lock file is copied up as soon as it is opened for writing, and then is another
#           inode.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    truncate --size=200M "$root/work/image"
    mkfs.ext4 -q "$root/work/image"
    inside <<'EOF'
mkdir disk
mount -o loop image disk
mkdir disk/{lower,upper,work,merged}
ostree --repo=disk/lower/repo init --mode=bare-user
mkdir tree
for branch in old main; do
    head --bytes=20000000 /dev/urandom >tree/file
    ostree --repo=disk/lower/repo commit --branch=$branch --canonical-permissions tree >/dev/null
done
ostree --repo=disk/lower/repo refs --delete old
mount -t overlay overlay -o lowerdir=disk/lower,upperdir=disk/upper,workdir=disk/work disk/merged
free() { sync --file-system disk/upper; df --block-size=1M --output=avail disk/upper | tail --lines=1; }

before=$(free)
ostree --repo=disk/merged/repo checkout -U --require-hardlinks main disk/merged/checkout
check 'the file is a hard link' [ "$(stat --format=%h disk/merged/checkout/file)" = 2 ]
check 'the disk has 19 MiB less' [ $((before - $(free))) -ge 19 ]

exec 9>>disk/lower/repo/.lock
python3 -c '
import fcntl, struct
fcntl.fcntl(9, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))'
ostree --repo=disk/lower/repo config set core.lock-timeout-secs 0
check 'the lock is held' eval '! ostree --repo=disk/lower/repo prune 2>&1'
before=$(free)
check 'but not in the overlay' ostree --repo=disk/merged/repo prune --refs-only
check 'the disk has no more room than before' [ "$(free)" -le "$before" ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 python3
see
debian trixie ostree=2025.2-1 python3
see
