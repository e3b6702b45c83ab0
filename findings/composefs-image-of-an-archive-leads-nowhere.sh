#!/bin/bash
# `ostree checkout --composefs` of an archive repository makes an image whose files can't be opened; and each image
# has directories that the commit has not.
#
# Software: ostree 2026.4-1 and composefs 1.0.8-3 (forky).
# Expected: the command refuses a repository that the image can't be mounted on, or the image leads to objects that
#           are there; and it shows the commit's tree, as a checkout does.
# Seen:     exit 0 for all modes, and byte for byte the same image: its files lead to objects by their names in a
#           bare repository (HASH.file), while an archive has HASH.filez. composefs-info lists each as missing. The
#           image of a commit with one file has five directories more, boot, etc, sysroot, usr and var, which a
#           checkout has not.
# Why:      the image is a function of the commit alone, so that its digest can be in the commit's metadata; the
#           directories are what a system needs to be mounted on, and can't be made later.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
mkdir tree
head --bytes=5000 /dev/urandom >tree/file
ostree --repo=archive init --mode=archive
ostree --repo=archive commit --branch=main --owner-uid=0 --owner-gid=0 --no-xattrs tree >/dev/null
ostree --repo=bare init --mode=bare
ostree --repo=bare pull-local archive main
for mode in archive bare; do ostree --repo=$mode checkout --composefs main $mode.cfs; done
check 'the images are the same' [ "$(sha256sum <archive.cfs)" = "$(sha256sum <bare.cfs)" ]
check 'no object is missing from the bare repository' \
    [ -z "$(composefs-info missing-objects --basedir=bare/objects bare.cfs)" ]
check 'one is from the archive' \
    [ "$(composefs-info missing-objects --basedir=archive/objects archive.cfs | wc -l)" = 1 ]
composefs-info ls bare.cfs
check 'the image has six entries' [ "$(composefs-info ls bare.cfs | wc -l)" = 6 ]
ostree --repo=bare checkout main checkout
check 'the checkout has one' [ "$(ls -A checkout)" = file ]
EOF
}

debian forky ostree=2026.4-1 composefs=1.0.8-3
see
