#!/bin/sh
# Makes the tree of a small Debian that OSTree can boot, without what is under test.
#
#   base.sh DIRECTORY
#
# Needs root. The mirror is the machine's own, as apt knows it. What is made depends on this file alone, so whoever
# calls it can keep the tree under this file's checksum.
set -eu

SUITE=bookworm
PACKAGES=systemd,systemd-sysv,udev,dbus,kmod,ostree,dracut,python3,python3-tqdm,python3-installer,e2fsprogs,procps,util-linux,libc-bin,zstd

root=$1
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $SUITE" "Component: main" | head -1)
[ -n "$mirror" ] || { echo "${0##*/}: apt knows no mirror of Debian $SUITE" >&2; exit 1; }

leave() {
    for directory in dev sys proc; do
        if mountpoint -q "$root/$directory"; then umount "$root/$directory"; fi
    done
}

inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

debootstrap --variant=minbase --merged-usr --include="$PACKAGES" "$SUITE" "$root" "$mirror"

trap leave EXIT
for directory in proc sys dev; do mount --bind "/$directory" "$root/$directory"; done

cat >"$root/etc/dracut.conf.d/vm.conf" <<'CONF'
hostonly="no"
compress="zstd"
drivers="virtio_blk virtio_pci virtio_ring virtio ext4"
omit_dracutmodules+=" network network-legacy lvm crypt crypt-gpg dm dmraid mdraid multipath btrfs nfs iscsi resume i18n plymouth "
CONF
inside apt-get install -y --no-install-recommends ostree-boot linux-image-cloud-amd64
kernel=$(ls "$root/usr/lib/modules")
inside dracut --force --kver "$kernel" /initramfs.img
# OSTree sets all files' times to 0, by which byte code is taken for outdated and not used.
inside python3 -m compileall -q -f --invalidation-mode=unchecked-hash /usr/lib/python3 /usr/lib/python3.11
leave
trap - EXIT

# Kernel and initramfs to where ostree looks for them.
mv "$root/initramfs.img" "$root/usr/lib/modules/$kernel/initramfs.img"
cp "$root/boot/vmlinuz-$kernel" "$root/usr/lib/modules/$kernel/vmlinuz"
depmod -b "$root/usr" "$kernel" 2>/dev/null || true

# What nobody needs, and what makes no two builds alike.
rm -f "$root"/initrd.img* "$root"/vmlinuz*
rm -rf "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" "$root/usr/share/info" \
    "$root/var/cache/apt" "$root/var/lib/apt"
find "$root/usr/lib/modules/$kernel/kernel" -mindepth 1 -maxdepth 1 ! -name fs ! -name drivers ! -name lib \
    ! -name crypto ! -name arch -exec rm -rf {} +

# A tree as OSTree wants it: state below /var, which is empty in commits. /etc becomes /usr/etc when all is installed.
mkdir -p "$root/usr/lib/sysimage"
mv "$root/var/lib/dpkg" "$root/usr/lib/sysimage/dpkg"
rm -rf "$root/boot" "$root/var" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp"
mkdir "$root/boot" "$root/var" "$root/dev" "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/sysroot"
for directory in home opt srv mnt root; do
    rm -rf "${root:?}/$directory"
    ln -s "var/$directory" "$root/$directory"
done
rm -rf "$root/media"
ln -s sysroot/ostree "$root/ostree"
cat >"$root/usr/lib/tmpfiles.d/vm.conf" <<'CONF'
d /var/home 0755
d /var/opt 0755
d /var/srv 0755
d /var/mnt 0755
d /var/root 0700
d /var/log/journal 2755 root systemd-journal
d /var/tmp 1777
CONF

# No getty, the same machine at each boot.
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
echo vm >"$root/etc/hostname"
: >"$root/etc/fstab"
rm -f "$root/etc/resolv.conf"
inside systemctl mask systemd-networkd.service systemd-timesyncd.service getty.target serial-getty@ttyS0.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nSyncIntervalSec=1\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
