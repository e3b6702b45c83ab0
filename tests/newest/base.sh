#!/bin/sh
# Makes a Debian sid to run tests in: the newest libostree and flatpak, and what the tests need, without what is
# under test.
#
#   base.sh DIRECTORY
#
# Needs root. The mirror is the machine's own, as apt knows it. What is made depends on this file and on the day that
# it runs: sid moves on. Callers can keep the directory under this file's checksum.
set -eu

SUITE=sid
# The version that the tests were last run with; another one is used, and named.
LIBOSTREE=2026.4
PACKAGES="ostree flatpak bubblewrap busybox-static composefs erofs-utils
    python3 python3-venv python3-gi gir1.2-ostree-1.0 python3-installer python3-pytest python3-hypothesis
    python3-prometheus-client attr btrfs-progs e2fsprogs gcc libc6-dev procps strace systemd util-linux xfsprogs"

made=$1
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Component: main" | grep -m1 '/debian/\?$') ||
    { echo "${0##*/}: apt knows no mirror of Debian" >&2; exit 1; }

# In memory first: dpkg syncs each file that it unpacks.
root=$(mktemp -d)
mount -t tmpfs -o mode=755 tmpfs "$root"
leave() {
    umount --recursive "$root"
    rmdir "$root"
}
trap leave EXIT

inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

debootstrap --variant=minbase "$SUITE" "$root" "$mirror"

mount --bind /proc "$root/proc"
# shellcheck disable=SC2086 # One word for each package.
inside apt-get install -y --no-install-recommends $PACKAGES
umount "$root/proc"

found=$(inside dpkg-query -W -f '${Version}' libostree-1-1)
case $found in
"$LIBOSTREE"-*) ;;
*) echo "${0##*/}: libostree of $SUITE is $found by now; the tests were last run with $LIBOSTREE" >&2 ;;
esac
rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/usr/share/doc" "$root/usr/share/locale"
cp -a "$root" "$made"
