#!/bin/bash
# Builds, tests and documents the source distribution by itself in a clean Debian: `run.sh SUITE PYTEST-ARGUMENT...`.
#
# Needs root. The Debian gets what the distribution's own Makefile asks for, the crates by packaging/sources.sh, and the
# Rust that PATH has, as Debian 12 has none that is new enough. From then on there is no network. `maturin`, `cargo`
# and `rustc` are found by PATH.
set -euo pipefail

suite=$1
shift
project=$(realpath "$(dirname "$0")/../..")
place=$(mktemp -d)
root=$place/root
trap 'rm -rf "$place"' EXIT

"$project/packaging/sources.sh" "$place" >"$place/version"
version=$(cat "$place/version")
mkdir "$place/source"
tar -xf "$place/ostree_sweep-$version.tar.gz" -C "$place/source" --strip-components 1
tar -xf "$place/ostree_sweep-$version-vendor.tar.gz" -C "$place/source"

# enter [OPTION...] SCRIPT: runs it in the source there, with options for unshare(1).
enter() {
    unshare "${@:1:$#-1}" --mount --pid --fork --kill-child --mount-proc="$root/proc" -- sh -euc '
        mount --rbind /dev "$1/dev"
        exec chroot "$1" env -i HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
            PATH=/opt/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin sh -euc "cd /root/source; $2"' sh "$root" "${*: -1}"
}

echo "== A clean $suite"
# The mirror that this host's apt knows. Lists of sid on it may be older than they would be on Debian's own.
mirror=$(apt-get indextargets --format '$(SITE)' | grep -m1 '/debian/\?$')
mmdebstrap --quiet --variant=apt --include=make,python3,ca-certificates \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
    "$suite" "$root" "$mirror"
cp /etc/resolv.conf "$root/etc"
mkdir "$root/opt/rust"
cp -r "$(rustc --print sysroot)"/{bin,lib} "$root/opt/rust"
mv "$place/source" "$root/root/source"
mkdir "$root/root/.cargo"
cat >"$root/root/.cargo/config.toml" <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/root/source/vendor"
END

echo "== Dependencies"
enter 'make deps >/dev/null'
# As this host has it: where packages of Python come from, and whom to trust for that.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"
[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc"
enter 'make .venv/installed >/dev/null'

echo "== Without a network: build, man pages, tests"
enter --net "make build share >/dev/null; ls dist/share/man/man*
    .venv/bin/pytest -q $(printf '%q ' "$@")"
