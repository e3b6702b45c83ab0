#!/bin/sh
# Writes the man pages and the shells' completions: `share.sh DIRECTORY`, which becomes a prefix's `share`.
# `ostree-sweep`, `argparse-manpage` and a `python3` that has the package and `shtab` are found by PATH.
set -eu

share=$1
packaging=$(dirname "$0")

mkdir -p "$share"/man/man1 "$share"/man/man8 "$share"/bash-completion/completions "$share"/zsh/site-functions \
    "$share"/fish/vendor_completions.d

argparse-manpage --module ostree_sweep.cli.arguments --function command_parser --prog ostree-sweep \
    --project-name ostree-sweep --version "$(ostree-sweep --version | cut -d ' ' -f 2)" \
    --description 'clean up after OSTree updates, and prune OSTree repositories' \
    --manual-title 'User Commands' --include "$packaging/man-sections.txt" \
    --output "$share/man/man1/ostree-sweep.1"

cp "$packaging/ostree-sweep-cleanup.service.8" "$share/man/man8"
for unit in cleanup.timer finalized.service prepare.service; do
    echo '.so man8/ostree-sweep-cleanup.service.8' >"$share/man/man8/ostree-sweep-$unit.8"
done

python3 "$packaging/completions.py" bash >"$share/bash-completion/completions/ostree-sweep"
python3 "$packaging/completions.py" zsh >"$share/zsh/site-functions/_ostree-sweep"
python3 "$packaging/completions.py" fish >"$share/fish/vendor_completions.d/ostree-sweep.fish"
