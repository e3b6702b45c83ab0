#!/bin/bash
# An update drops ACLs and extended attributes that an administrator set in /etc, and `ostree admin config-diff`
# can't see them.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: /etc is merged in three ways, so local changes survive: content and mode do.
# Seen:     `setfacl` on a file of the default configuration is no change to config-diff, and the file of the next
#           deployment has no ACL: the service user who could read it can't after the reboot. In a file with another
#           change (here: its content) the ACL stays. So do new files with theirs.
# Why:      the merge compares without extended attributes, as SELinux labels differ between versions; what is taken
#           over is then copied with them.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
new_sysroot os
os_tree tree 1
for name in acl acl-and-content mode attribute; do echo default >tree/usr/etc/$name; done
commit() { ostree --repo=sysroot/ostree/repo commit --branch=os/stable --owner-uid=0 --owner-gid=0 tree; }
first=$(commit)
ostree admin deploy --sysroot=sysroot --os=os os/stable
cd "sysroot/ostree/deploy/os/deploy/$first.0/etc"
setfacl --modify user:1234:r acl acl-and-content
echo local >>acl-and-content
chmod 600 mode
setfattr --name=user.note --value=local attribute
echo new >new
setfacl --modify user:1234:r new
cd /work
differences=$(ostree admin config-diff --sysroot=sysroot --os=os)
echo "$differences"
check 'config-diff lists content, mode and what is new' [ "$(wc -l <<<"$differences")" = 3 ]
check 'and no ACL or attribute alone' eval '! grep -E "(acl|attribute)$" <<<"$differences"'

echo 2 >tree/usr/version
second=$(commit)
ostree admin deploy --sysroot=sysroot --os=os os/stable
cd "sysroot/ostree/deploy/os/deploy/$second.0/etc"
check 'the mode is kept' [ "$(stat --format=%a mode)" = 600 ]
check 'the ACL of the file with other content is kept' grep -q 1234 <(getfacl acl-and-content)
check 'the ACL of the new file is kept' grep -q 1234 <(getfacl new)
check 'the ACL alone is lost' eval '! getfacl acl | grep 1234'
check 'the attribute alone is lost' eval '! getfattr --name=user.note attribute 2>&1'
cd /work
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 acl attr
see
debian trixie ostree=2025.2-1 acl attr
see
