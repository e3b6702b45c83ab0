#!/bin/bash
# The exclusive lock of an OSTree.Repo keeps other processes out, but no other thread that uses the same object.
#
# Software: gir1.2-ostree-1.0 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie), PyGObject; 2026.4-1 does the same.
# Expected: a second thread that asks for the exclusive lock waits or fails, as a second process does. So an updater
#           may share one repository object among its threads and prune in one while another writes.
# Seen:     the second thread gets the lock at once, and a prune goes through while another thread has a transaction
#           open. A second object for the same path, in the same thread even, is refused.
# Why:      the lock belongs to the object, with a count of how often it was taken; the count is guarded against
#           threads, the repository is not. The kernel's lock under it belongs to the object's file descriptor.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
ostree --repo=repo config set core.lock-timeout-secs 0
mkdir tree
echo 1 >tree/file
ostree --repo=repo commit --branch=main tree >/dev/null
cat >locks.py <<'PYTHON'
import threading

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, GLib, OSTree

EXCLUSIVE = OSTree.RepoLockType.EXCLUSIVE


def opened():
    repo = OSTree.Repo.new(Gio.File.new_for_path("repo"))
    repo.open(None)
    return repo


def in_thread(function):
    outcome = []

    def run():
        try:
            function()
            outcome.append("done")
        except GLib.Error as error:
            outcome.append(error.message)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


one, other = opened(), opened()
one.lock_push(EXCLUSIVE, None)
print("same object, other thread:", in_thread(lambda: one.lock_push(EXCLUSIVE, None)))
print("other object:", in_thread(lambda: other.lock_push(EXCLUSIVE, None)))
one.lock_pop(EXCLUSIVE, None)
one.lock_pop(EXCLUSIVE, None)
one.prepare_transaction(None)
print("prune beside a transaction:", in_thread(lambda: one.prune(OSTree.RepoPruneFlags.REFS_ONLY, 0, None)))
print("by another object:", in_thread(lambda: other.prune(OSTree.RepoPruneFlags.REFS_ONLY, 0, None)))
one.abort_transaction(None)
PYTHON
python3 locks.py | tee output
check 'the other thread gets the lock' grep --quiet '^same object, other thread: done' output
check 'the other object does not' grep --quiet '^other object: Locking repo exclusive failed' output
check 'a prune goes beside a transaction of the same object' grep --quiet '^prune beside a transaction: done' output
check 'not of another' grep --quiet '^by another object: Locking repo exclusive failed' output
EOF
}

debian bookworm gir1.2-ostree-1.0=2022.7-2+deb12u1 ostree=2022.7-2+deb12u1 python3-gi
see
debian trixie gir1.2-ostree-1.0=2025.2-1 ostree=2025.2-1 python3-gi
see
