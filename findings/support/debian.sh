# shellcheck shell=bash
# Debian packages at exact versions, in a temporary folder of their own. Sourced by the findings.
#
#   debian SUITE PACKAGE=VERSION...   unpacks these packages and what they depend on
#   inside <<'EOF'                    runs a bash script among them, in mount and process namespaces of its own

[ "$(id -u)" = 0 ] || { echo "${0##*/}: needs root, for chroot and mounts" >&2; exit 2; }

top=$(mktemp -d)
# Deployments' directories are immutable.
trap 'chattr -R -f -i "$top" || true; rm -rf "$top"' EXIT
root=

debian() {
    local suite=$1 apt=$top/apt-$1 site
    shift
    root=$top/$suite
    # The mirror that this host's apt knows.
    site=$(apt-get indextargets --format "\$(SITE)" | grep -m1 '/debian/\?$')
    mkdir -p "$apt"/{lists,archives}/partial "$root"/{dev,proc,sys,tmp,usr/{bin,lib,lib64,sbin},work}
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site $suite main" >"$apt/sources.list"
    local options=(
        -qq -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Acquire::Languages=none
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt"
        -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    )
    apt-get "${options[@]}" update
    apt-get "${options[@]}" --download-only install "$@" bash coreutils findutils grep sed util-linux mount >/dev/null
    # Unpacked only: no package's script runs. Directories that are links into /usr stay links.
    ln -s usr/{bin,lib,lib64,sbin} "$root"
    local package
    for package in "$apt"/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink
    done
    rm -r "$apt"
    echo "== $suite: $*"
}

inside() {
    cp "$(dirname "${BASH_SOURCE[0]}")/inside.sh" "$root/work"
    cat >"$root/work/script"
    # shellcheck disable=SC2016 # The inner shell expands them.
    unshare --mount --pid --fork --kill-child --propagation private sh -euc '
        mount --bind "$1" "$1"
        cd "$1"
        mount -t proc proc proc
        mount --rbind /dev dev
        mount --rbind /sys sys
        mount -t tmpfs tmpfs tmp
        exec chroot . env -i PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/tmp TZ=UTC \
            bash -euo pipefail -c "cd /work; . ./inside.sh; . ./script"
    ' sh "$root"
}
