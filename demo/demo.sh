#!/bin/bash
# An update from beginning to end: deploy, boot, stage, finalize, clean up. Needs root, some 500 MiB and less than a
# minute. All of it happens in a temporary directory, which is removed in the end, come what may.
set -euo pipefail

here=$(realpath "$(dirname "$0")")
project=$(dirname "$here")
sweep=$project/.venv/bin/ostree-sweep
python=$project/.venv/bin/python
stand_in=$project/tests/support/boot-stand-in.sh

readonly branch=demo/stable
readonly files=12000

if [ "$(id -u)" != 0 ]; then
    echo "Sysroots need root: once more through sudo."
    exec sudo -- "$0" "$@"
fi
if [ ! -x "$sweep" ]; then
    echo "There is no $sweep yet: run 'make build' first." >&2
    exit 1
fi

# Figures with a no-break space, whatever the machine's language is.
export LC_ALL=C.UTF-8
unset OSTREE_REPO OSTREE_SYSROOT

bold='' plain=''
if [ -t 1 ]; then
    bold=$'\e[1m' plain=$'\e[0m'
fi

say() {
    printf '\n%s== %s%s\n' "$bold" "$1" "$plain"
}

place=$(mktemp -d)
sysroot=$place/sysroot
repo=$sysroot/ostree/repo
tree=$place/tree

remove_all() {
    trap '' INT TERM
    # Nobody may be reading any more.
    say "Removing all that was made" 2>/dev/null || true
    # The directory of a deployment is immutable.
    chattr -f -i "$sysroot"/ostree/deploy/*/deploy/*.[0-9] 2>/dev/null || true
    rm -rf "$place"
}
trap remove_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What a process in the deployment needs of the host, to run this Python with this package.
STAND_IN_PATHS=$("$python" -c '
import os, sys
print(":".join(sorted({os.path.realpath(path) for path in (sys.argv[1], sys.prefix, sys.base_prefix)})))
' "$project")
export STAND_IN_PATHS

can_boot() {
    unshare --mount --pid --fork -- mount -t tmpfs tmpfs "$place" 2>/dev/null
}

# boot VERSION SCRIPT: runs a script as if the deployment of that version were booted.
boot() {
    "$stand_in" "$sysroot" "$sysroot"/ostree/deploy/demo/deploy/"$(cat "$place/version-$1")".0 -- sh -euc "$2"
}

# updated ARGUMENTS...: runs ostree-sweep in the updated system, or, where nothing can be booted, on its sysroot.
updated() {
    if [ "$booted" ]; then
        boot 3 "'$sweep' $*"
    else
        "$sweep" "$@" --sysroot="$sysroot"
    fi
}

# The least that libostree deploys and the stand-in boots, and files of this machine.
make_tree() {
    local top modules=$tree/usr/lib/modules/6.1.0
    mkdir -p "$modules" "$tree"/{usr/etc,usr/share,boot,dev,proc,run,sys,sysroot,tmp,var}
    for top in bin lib lib64 sbin; do
        ln -s "usr/$top" "$tree/$top"
    done
    ln -s sysroot/ostree "$tree/ostree"
    # Directories to mount the host's on.
    tr : '\n' <<<"$STAND_IN_PATHS" | cut -d / -f 2 | while read -r top; do
        mkdir -p "$tree/$top"
    done
    printf 'ID=demo\nNAME=Demo\n' >"$tree/usr/lib/os-release"
    (cd /usr/share && find . -xdev -type f -size -64k -print0 | sort -z) >"$place/files"
    # `head` ends before all is read, which is no failure.
    (head -z -n "$files" <"$place/files" | tar -C /usr/share --null -T - -c) | tar -C "$tree/usr/share" -x
}

# commit VERSION: has another kernel, and one file in five changed.
commit() {
    local kernel=$tree/usr/lib/modules/6.1.0
    echo "kernel $1" >"$kernel/vmlinuz"
    echo "initramfs $1" >"$kernel/initramfs.img"
    # The inner shell's own variables.
    # shellcheck disable=SC2016
    (cd "$tree/usr/share" && find . -type f -print0 | sort -z | awk -v RS='\0' -v ORS='\0' 'NR % 5 == 0' |
        xargs -0 sh -c 'version=$1; shift; for file; do echo "$version" >>"$file"; done' sh "version $1")
    ostree --repo="$repo" commit --branch="$branch" --subject="version $1" "$tree" >"$place/version-$1"
    echo "Version $1 is commit $(cut -c -12 "$place/version-$1")..."
}

deploy() {
    ostree admin --sysroot="$sysroot" deploy --os=demo "$@" "$branch" >/dev/null
}

# measure COLUMN: takes the figures for one column of the table.
measure() {
    local stamp=no
    [ -e "$sysroot/.cleanup" ] && stamp=yes
    {
        find "$sysroot"/ostree/deploy/demo/deploy -mindepth 1 -maxdepth 1 -type d | wc -l
        echo "$stamp"
        find "$repo/objects" -mindepth 2 -type f -o -mindepth 2 -type l | wc -l
        du -sk "$sysroot" | awk '{ printf "%.1f MiB\n", $1 / 1024 }'
    } >"$place/column-$1"
}

show_table() {
    printf '%-12s %15s %15s %15s\n' '' 'before update' 'after update' 'after cleanup'
    printf '%s\n' deployments stamp objects 'disk use' |
        paste - "$place/column-before" "$place/column-updated" "$place/column-cleaned" |
        awk -F '\t' '{ printf "%-12s %15s %15s %15s\n", $1, $2, $3, $4 }'
}

say "A sysroot with two versions of a part of this machine's /usr/share"
mkdir "$sysroot"
ostree admin init-fs "$sysroot"
ostree admin --sysroot="$sysroot" os-init demo >/dev/null
ostree --repo="$repo" config set sysroot.bootloader none
# The disk's own pace is none of the demo's business.
ostree --repo="$repo" config set core.fsync false
make_tree
for version in 1 2; do
    commit "$version"
    deploy
done
"$sweep" status --sysroot="$sysroot"
measure before

if can_boot; then
    booted=yes
    say "Version 2 is booted by a stand-in; version 3 is staged, the cleanup planned, and all finalized as in a shutdown"
    commit 3
    boot 2 "ostree admin deploy --stage $branch >/dev/null
            ostree admin status
            '$sweep' plan
            ostree admin finalize-staged
            '$sweep' stamp"
else
    booted=
    say "This machine doesn't allow namespaces, so nothing can be booted: version 3 is deployed offline"
    commit 3
    deploy --no-prune
    "$sweep" stamp --sysroot="$sysroot"
fi
measure updated

say "${booted:+After the reboot: }version 1 is gone, but its objects are still there"
updated status

say "ostree-sweep cleanup --auto"
updated cleanup --auto
measure cleaned

say "ostree-sweep cleanup --auto, a second time"
updated cleanup --auto

say "The system that is left"
updated status

say "Before and after"
show_table

say "ostree fsck"
ostree --repo="$repo" fsck --quiet | tail -n 1
