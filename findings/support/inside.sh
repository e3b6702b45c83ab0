# shellcheck shell=bash
# What a finding's script has at hand inside.

# check WHAT COMMAND...: says that WHAT is seen if the command succeeds, and ends the finding otherwise.
check() {
    local what=$1
    shift
    if "$@"; then
        echo "   seen: $what"
    else
        echo "   NOT seen: $what ($*)" >&2
        exit 1
    fi
}

# commits REPO: how many commits a repository holds.
commits() {
    find "$1/objects" -name '*.commit' | wc -l
}

# sound REPO: whether `ostree fsck` finds nothing wrong.
sound() {
    ostree --repo="$1" fsck --quiet >/dev/null
}

# serve REPO: serves a repository by HTTP, as $url; the requests are in `requests`.
serve() {
    : >requests
    python3 -u -m http.server --directory "$1" --bind 127.0.0.1 0 >requests 2>&1 &
    until url=$(sed -n 's/^Serving HTTP .*(\(http.*\)\/).*/\1/p' requests) && [ -n "$url" ]; do sleep 0.1; done
}

# os_tree DIRECTORY VERSION: writes the least that `ostree admin deploy` takes.
os_tree() {
    local modules=$1/usr/lib/modules/6.1.0 link
    rm -rf "$1"
    mkdir -p "$modules" "$1"/{usr/etc,boot,dev,proc,run,sys,sysroot,tmp,var}
    for link in bin lib lib64 sbin; do ln -s "usr/$link" "$1/$link"; done
    ln -s sysroot/ostree "$1/ostree"
    echo "kernel $2" >"$modules/vmlinuz"
    echo initramfs >"$modules/initramfs.img"
    printf 'ID=test\nNAME=test\nPRETTY_NAME="test %s"\n' "$2" >"$1/usr/lib/os-release"
    echo setting >"$1/usr/etc/setting"
}

# new_sysroot STATEROOT...: makes the sysroot `sysroot` with a repository of its own, `sysroot/ostree/repo`.
new_sysroot() {
    local stateroot
    mkdir sysroot
    ostree admin init-fs sysroot
    for stateroot; do ostree admin os-init --sysroot=sysroot "$stateroot" >/dev/null; done
    ostree --repo=sysroot/ostree/repo config set sysroot.bootloader none
}

# commit_os VERSION [BRANCH]: commits such a tree; prints its checksum.
commit_os() {
    os_tree tree "$1"
    ostree --repo=sysroot/ostree/repo commit --branch="${2:-os/stable}" --owner-uid=0 --owner-gid=0 tree
}

# booted STATEROOT CHECKSUM SCRIPT: runs a script as if that deployment were booted. To libostree it is, if its
# directory is `/` and /run/ostree-booted exists.
booted() {
    local stateroot=$PWD/sysroot/ostree/deploy/$1
    # shellcheck disable=SC2016 # The inner shell expands them.
    unshare --mount --pid --fork --kill-child --propagation unchanged bash -euc '
        mount --bind "$1" "$1"
        cd "$1"
        mount --bind /usr usr
        mount --bind "$2" sysroot
        mount --bind "$2/boot" boot
        mount --bind "$3/var" var
        mount -t tmpfs tmpfs run
        mount -t tmpfs tmpfs tmp
        mount --rbind /dev dev
        mount -t proc proc proc
        mkdir run/ostree
        : >run/ostree-booted
        # Not by exec: libostree compares its mount namespace with that of process 1.
        status=0
        chroot . bash -euo pipefail -c "$4" || status=$?
        exit $status
    ' sh "$stateroot/deploy/$2.0" "$PWD/sysroot" "$stateroot" "$3"
}
