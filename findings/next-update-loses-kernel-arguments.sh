#!/bin/bash
# A kernel argument that was set and waits for the reboot is lost if an update comes before it, silently.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: an update keeps the kernel arguments, so it keeps those of the deployment that is to be booted next and
#           that it takes the place of.
# Seen:     `ostree admin deploy --stage --karg-append=a=1`, then a new version by `ostree admin deploy --stage`:
#           after finalization the new version has no a=1. The same holds without --stage. A change that was booted
#           once is kept.
# Why:      arguments, like /etc, are taken from the deployment that is running; one that was never booted is only
#           replaced.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
arguments() { grep --no-filename ^options sysroot/boot/loader/entries/*; }
for stage in --stage ''; do
    new_sysroot os
    first=$(commit_os 1)
    ostree admin deploy --sysroot=sysroot --os=os --karg=booted=1 os/stable
    booted os "$first" "
        ostree admin deploy $stage --karg-append=a=1 os/stable
        [ -z '$stage' ] || ostree admin finalize-staged"
    check "${stage:-at once}: the argument is there" grep --quiet a=1 <(arguments)
    booted os "$first" "
        ostree admin deploy $stage --karg-append=a=1 os/stable
        ostree --repo=/sysroot/ostree/repo commit --branch=os/stable --tree=ref=os/stable \
            --add-metadata-string=version=2
        ostree admin deploy $stage os/stable
        [ -z '$stage' ] || ostree admin finalize-staged"
    arguments
    check 'after an update that one is lost' eval '! arguments | grep a=1'
    check 'what the running system has is kept' [ "$(arguments | grep --count booted=1)" = 2 ]
    chattr -i sysroot/ostree/deploy/os/deploy/*.?
    rm -r sysroot
done
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 e2fsprogs
see
debian trixie ostree=2025.2-1 systemd e2fsprogs
see
