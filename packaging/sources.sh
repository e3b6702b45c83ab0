#!/bin/bash
# Writes what distributions build from, and prints the version: `sources.sh DIRECTORY`. Beside the source distribution
# that is an archive of all crates, so that a build needs no network. `maturin` and `cargo` are found by PATH.
set -euo pipefail

out=$(realpath "$1")
project=$(realpath "$(dirname "$0")/..")
version=$(sed -n '/^\[package\]/,/^$/s/^version = "\(.*\)"/\1/p' "$project/Cargo.toml")
crates=$(mktemp -d)
trap 'rm -rf "$crates"' EXIT

maturin sdist --manifest-path "$project/Cargo.toml" --out "$out" >&2
cargo vendor --quiet --locked --manifest-path "$project/Cargo.toml" "$crates/vendor" >/dev/null
# Cargo wants the crates for Windows to be there but never reads them: they are binaries for the most part.
for crate in "$crates"/vendor/windows*; do
    find "$crate" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -name .cargo-checksum.json -exec rm -r {} +
    mkdir "$crate/src"
    : >"$crate/src/lib.rs"
    sed -i 's/"files":{[^}]*}/"files":{}/' "$crate/.cargo-checksum.json"
done
tar -C "$crates" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -czf \
    "$out/ostree_sweep-$version-vendor.tar.gz" vendor
echo "$version"
