#!/bin/bash
# Builds the Debian source package from the source distribution, builds its packages without a network, and uses them
# in a clean Debian: `deb.sh DIRECTORY [SUITE]`. Needs root. `maturin`, `cargo` and `rustc` are found by PATH.
#
# The rules take all from Debian but for maturin, and a Rust newer than Debian 12's: there, what PATH has is used.
set -euo pipefail

out=$(realpath -m "$1") suite=${2:-bookworm}
project=$(realpath "$(dirname "$0")/..")
rm -rf "$out"
mkdir -p "$out"
cd "$out"

echo "== Source package"
version=$("$project/packaging/sources.sh" .)
source=ostree-sweep-$version
mv "ostree_sweep-$version.tar.gz" "ostree-sweep_$version.orig.tar.gz"
mv "ostree_sweep-$version-vendor.tar.gz" "ostree-sweep_$version.orig-vendor.tar.gz"
mkdir "$source"
tar -xf "ostree-sweep_$version.orig.tar.gz" -C "$source" --strip-components 1
tar -xf "ostree-sweep_$version.orig-vendor.tar.gz" -C "$source"
cp -r "$source/packaging/debian" "$source"
dpkg-source --build "$source"

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# The mirror that this host's apt knows. sid's lists on it may be older than they would be on Debian's own.
mirror=$(apt-get indextargets --format '$(SITE)' | grep -m1 '/debian/\?$')

# enter [OPTION...] SCRIPT: runs it in that Debian, with options for unshare(1).
enter() {
    unshare "${@:1:$#-1}" --mount --pid --fork --kill-child --mount-proc="$root/proc" -- chroot "$root" env -i \
        HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
        sh -euc "cd /root; ${*: -1}"
}

# clean_root PACKAGE...: a new Debian with what was built so far in /root, and with packages.
clean_root() {
    rm -rf "$root"
    mmdebstrap --variant=apt --aptopt='Acquire::Check-Valid-Until "false"' \
        --aptopt='APT::Install-Recommends "false"' "$suite" "$root" "$mirror"
    find "$out" -maxdepth 1 -type f -exec cp -t "$root/root" {} +
    cp /etc/resolv.conf "$root/etc"
    enter "apt-get update -qq; apt-get install -y -qq $* >/dev/null"
}

echo "== Binary packages"
if [ "$suite" = bookworm ]; then
    # dpkg gives the build another home, in which rustup finds no toolchain.
    tools=$(rustc --print sysroot)/bin:$(dirname "$(command -v maturin)"):/usr/sbin:/usr/bin:/sbin:/bin
    (cd "$source" && PATH=$tools unshare --net -- dpkg-buildpackage --build=binary --no-check-builddeps --no-sign)
else
    clean_root build-essential
    enter "apt-get build-dep -y -qq ./*.dsc >/dev/null; dpkg-source --extract ./*.dsc source"
    enter --net 'cd source; dpkg-buildpackage --build=binary --no-sign'
    cp "$root"/root/*.{deb,changes,buildinfo} .
fi
rm -rf "$source"

echo "== lintian"
lintian --info --fail-on=error,warning ./*.changes ./*.dsc

echo "== The packages in a clean $suite"
tests=packaging/debian/tests
# shellcheck disable=SC2046 # Each is a package.
clean_root './*.deb' $(sed -n 's/^Depends: @, //p' "$project/$tests/control" | tr -d ,)
enter --net "tar -xf ./*.orig.tar.gz; exec ./ostree_sweep-$version/$tests/installed"
