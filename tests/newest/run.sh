#!/bin/sh
# Runs pytest with the newest libostree: in a Debian sid that is made once, with this package's wheel installed.
#
#   run.sh WHEEL PYTEST-ARGUMENT...
#
# Needs root. The Debian is kept in target/newest, by its recipe's checksum. Mounts, processes and /run are namespaces'
# of their own; /tmp is in memory, so that the many syncs take no time.
set -eu

# Once more, inside of the new namespaces: a function can't be handed over to another program.
if [ "${1-}" = --inside ]; then
    base=$2 own=$3 project=$4 wheel=$5
    shift 5
    mount --bind "$base" "$base"
    cd "$base"
    mount -t proc proc proc
    mount -t tmpfs tmpfs run
    mount --rbind /dev dev
    mount --rbind /sys sys
    mount -t tmpfs -o mode=1777 tmpfs tmp
    mount --bind "$own" opt
    mkdir -p "$base$project"
    mount --bind "$project" "$base$project"
    cp "$wheel" opt
    # Not chroot, in which flatpak's sandbox can't be made.
    pivot_root . mnt
    # shellcheck disable=SC2016 # The inner shell expands them.
    exec env PATH=/usr/sbin:/usr/bin HOME=/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 sh -euc '
        umount --lazy /mnt
        python3 -m venv --system-site-packages --without-pip /opt/python
        /opt/python/bin/python -m installer /opt/*.whl
        ostree --version | grep Version
        cd "$1"
        shift
        exec /opt/python/bin/python -m pytest -p no:cacheprovider -o tmp_path_retention_policy=failed "$@"
    ' sh "$project" "$@"
fi

if [ $# -lt 2 ]; then
    echo "usage: ${0##*/} WHEEL PYTEST-ARGUMENT..." >&2
    exit 2
fi
project=$(realpath -e "$(dirname "$0")/../..")
wheel=$(realpath -e "$1")
shift
recipe=$project/tests/newest/base.sh
kept=$project/target/newest
base=$kept/base-$(sha256sum "$recipe" | cut -c -16)

if [ ! -d "$base" ]; then
    mkdir -p "$kept"
    rm -rf "$kept"/base-*
    "$recipe" "$base.new" >"$kept/base.log" 2>&1 || { tail -n 40 "$kept/base.log" >&2; exit 1; }
    grep -F "${recipe##*/}:" "$kept/base.log" >&2 || true
    mv "$base.new" "$base"
fi

own=$(mktemp -d "$kept/run-XXXXXX")
trap 'rm -rf "$own"' EXIT
unshare --mount --pid --fork --kill-child --propagation private -- \
    "$0" --inside "$base" "$own" "$project" "$wheel" "$@"
