#!/bin/bash
# Builds the RPM packages from the source distribution, without a network: `rpm.sh DIRECTORY`. Needs root. `maturin`,
# `cargo` and `rustc` are found by PATH, and all else that the spec asks for is what Debian has instead.
set -euo pipefail

out=$(realpath -m "$1")
project=$(realpath "$(dirname "$0")/..")
rm -rf "$out"
mkdir -p "$out/SOURCES"
"$project/packaging/sources.sh" "$out/SOURCES" >/dev/null

tools=$(rustc --print sysroot)/bin:$(dirname "$(command -v maturin)"):/usr/sbin:/usr/bin:/sbin:/bin
# Debian's Python has places of its own.
export DEB_PYTHON_INSTALL_LAYOUT=deb
PATH=$tools unshare --net -- rpmbuild -ba --nodeps --define "_topdir $out" \
    --define 'python3_sitearch /usr/lib/python3/dist-packages' "$project/packaging/rpm/ostree-sweep.spec"
rpmlint --config "$project/packaging/rpm/rpmlint.toml" "$out"/{SRPMS,RPMS/*}/*.rpm
