#!/bin/bash
# With the exclusive lock of a repository in other hands, refs can be created and deleted, checkouts and pulls from
# it go on, and even `ostree fsck --delete` runs.
#
# Software: ostree 2022.7-2+deb12u1 (bookworm) and 2025.2-1 (trixie); 2026.4-1 does the same.
# Expected: a process that holds the exclusive lock, as a prune does, has the repository to itself: readers take the
#           shared lock, writers wait.
# Seen:     `ostree commit`, `pull` into the repository, `reset`, `summary --update` and `static-delta reindex`
#           wait. `refs --create` and `--delete`, `checkout`, `export`, `pull-local` and `pull` of a file:// URL
#           from it, `static-delta generate` and `delete`, `fsck` and `fsck --delete` don't ask. So a ref can be
#           created to a commit while a prune deletes it, and a pull on the same disk needs more than the lock to be
#           safe from a prune of its source.
# Why:      transactions and what regenerates the summary take the shared lock; setting a single ref is no
#           transaction, and reading takes none.
set -euo pipefail
# shellcheck source=findings/support/debian.sh
. "$(dirname "$0")/support/debian.sh"

see() {
    inside <<'EOF'
ostree --repo=repo init --mode=archive
ostree --repo=repo config set core.lock-timeout-secs 0
mkdir tree
echo 1 >tree/file
old=$(ostree --repo=repo commit --branch=main tree)
echo 2 >tree/file
new=$(ostree --repo=repo commit --branch=main tree)
ostree --repo=target init --mode=archive
ostree --repo=target remote add --no-gpg-verify repo "file://$PWD/repo"
ostree --repo=source init --mode=archive
ostree --repo=source commit --branch=other tree >/dev/null

exec 9>>repo/.lock
python3 -c '
import fcntl, struct
fcntl.fcntl(9, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))'
passes() { check "goes through: ostree $*" quiet ostree "$@"; }
quiet() { "$@" >/dev/null 2>&1; }
locks() { check "wants the lock: ostree $*" grep --quiet '^error: Locking repo' <(ostree "$@" 2>&1); }
locks --repo=repo prune --no-prune
locks --repo=repo commit --branch=main tree
locks --repo=repo pull-local source other
locks --repo=repo reset main main^
locks --repo=repo summary --update
locks --repo=repo static-delta reindex
for command in 'refs --create=new main' 'refs --delete new' 'checkout -U main checkout' 'export main --output=tar' \
    'static-delta generate main' "static-delta delete $old-$new" 'fsck --quiet' 'fsck --quiet --delete'; do
    # shellcheck disable=SC2086 # The words are arguments.
    passes --repo=repo $command
done
passes --repo=target pull-local repo main
passes --repo=target pull repo main
EOF
}

debian bookworm ostree=2022.7-2+deb12u1 python3
see
debian trixie ostree=2025.2-1 python3
see
