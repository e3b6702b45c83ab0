#!/bin/sh
# Runs a command as if the machine had booted a deployment: booted without booting.
#
#   boot-stand-in.sh SYSROOT DEPLOYMENT-DIR -- COMMAND...
#
# libostree takes a process as booted into the deployment whose directory is `/`, when /run/ostree-booted exists. So
# the command runs chrooted into the deployment, with the mounts a boot would make, and the host's /usr as its own.
# The mounts and processes belong to namespaces that end with the command. /run lasts as long as the command does,
# like a boot: what is staged in it has to be finalized in it.
#
# STAND_IN_PATHS: absolute paths of the host, separated by colons, that the command sees too. The deployment must have
# the first directory of each, as a place to mount on: the directory of a deployment itself is immutable.
set -eu

die() {
    echo "${0##*/}: $1" >&2
    exit 2
}

mount_host_paths() {
    (
        IFS=:
        set -f
        # The split at the colons is wanted.
        # shellcheck disable=SC2086
        set -- ${STAND_IN_PATHS-}
        for path; do
            top=${path#/}
            top=${top%%/*}
            [ "$top" = usr ] && continue
            [ -d "$root/$top" ] || die "no place for $path: the deployment has no /$top"
            # One tmpfs is enough for all that begin alike.
            case " $covered " in
            *" $top "*) ;;
            *)
                mount -t tmpfs tmpfs "$root/$top"
                covered="$covered $top"
                ;;
            esac
            mkdir -p "$root$path"
            mount --bind "$path" "$root$path"
        done
    )
}

boot() {
    stateroot=${root%/deploy/*}
    mount --bind "$root" "$root"
    mount --bind /usr "$root/usr"
    mount --bind "$sysroot" "$root/sysroot"
    mount --bind "$sysroot/boot" "$root/boot"
    mount --bind "$stateroot/var" "$root/var"
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs tmpfs "$root/tmp"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    mkdir "$root/run/ostree"
    : >"$root/run/ostree-booted"
    covered="dev run tmp"
    mount_host_paths
}

# Once more, inside of the new namespaces: a function can't be handed over to another program.
if [ "${1-}" = --inside ]; then
    sysroot=$2 root=$3
    shift 4
    boot
    # Not by `exec`: libostree compares its mount namespace with that of process 1, as it is in a real boot.
    status=0
    chroot "$root" env -u STAND_IN_PATHS "$@" || status=$?
    exit "$status"
fi

if [ $# -lt 4 ] || [ "$3" != -- ]; then
    die "usage: ${0##*/} SYSROOT DEPLOYMENT-DIR -- COMMAND..."
fi
sysroot=$(realpath -e "$1")
root=$(realpath -e "$2")
case $root in
"$sysroot"/ostree/deploy/*/deploy/*) ;;
*) die "$root is no deployment of $sysroot" ;;
esac
shift 2
exec unshare --mount --pid --fork --kill-child -- "$0" --inside "$sysroot" "$root" "$@"
