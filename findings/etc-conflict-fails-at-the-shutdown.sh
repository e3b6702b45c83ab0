#!/bin/bash
# A staged update whose default /etc has a directory where the machine has a changed file is accepted, and lost at
# the shutdown.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: `ostree admin deploy --stage` fails as the same command without --stage does, so that an updater can
#           report it; or the merge keeps the local file, as it does where both have a file.
# Seen:     /etc/setting was a file, was changed on the machine, and is a directory in the new version. To stage it
#           succeeds, `ostree admin status` shows it as staged, and at the shutdown finalization fails: "Modified
#           config file newly defaults to directory". After the reboot the old version runs, the update is in no
#           list, and its checkout is left on the disk. Each further try ends alike.
# Why:      /etc is merged at finalization, to have the last changes in it; that is when a conflict turns up.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
old=$(commit_os 1)
ostree admin deploy --sysroot=sysroot --os=os os/stable
echo changed >>"sysroot/ostree/deploy/os/deploy/$old.0/etc/setting"
os_tree tree 2
rm tree/usr/etc/setting
mkdir tree/usr/etc/setting
echo default >tree/usr/etc/setting/part
new=$(ostree --repo=sysroot/ostree/repo commit --branch=os/stable --owner-uid=0 --owner-gid=0 tree)
booted os "$old" 'ostree admin deploy os/stable 2>&1 || true' | tee output
check 'to deploy it at once fails' grep --quiet 'error: .*newly defaults to directory' output
booted os "$old" '
    ostree admin deploy --stage os/stable
    ostree admin status
    ostree admin finalize-staged 2>&1 || echo "finalization: $?"
' | tee output
check 'it can be staged' grep --quiet "$new.* (staged)" output
check 'finalization fails' grep --quiet '^finalization: 1' output
check 'the update is not listed' eval '! ostree admin status --sysroot=sysroot | grep $new'
check 'its checkout is there' [ -d "sysroot/ostree/deploy/os/deploy/$new.0/usr" ]
EOF
}

debian bookworm ostree=2022.7-2+deb12u1
see
debian trixie ostree=2025.2-1 systemd
see
