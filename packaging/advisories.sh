#!/bin/sh
# Brings the copy of RustSec's advisories up to date, as far as they are on crates that we depend on:
#
#   advisories.sh DIRECTORY LOCK...
#
# `make advisories` looks the lock files up in it, without a network.
set -eu

directory=$1
shift
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet --depth=1 https://github.com/rustsec/advisory-db "$clone"
rm -rf "$directory"
mkdir -p "$directory/crates"
sed -n 's/^name = "\(.*\)"$/\1/p' "$@" | LC_ALL=C sort -u >"$directory/crates.txt"
while read -r crate; do
    if [ -d "$clone/crates/$crate" ]; then cp -r "$clone/crates/$crate" "$directory/crates"; fi
done <"$directory/crates.txt"
git -C "$clone" log -1 --format='%H of %cs' >"$directory/commit.txt"
