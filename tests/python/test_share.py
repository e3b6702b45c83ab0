"""The man pages and the completions: all commands and units are in them, and man and the shells take them."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

import ostree_sweep.units
from ostree_sweep.cli.commands import COMMANDS
from support.sysroots import PROJECT, output

if TYPE_CHECKING:
    from pathlib import Path

UNITS = [
    unit.name for unit in files(ostree_sweep.units).iterdir() if unit.name.endswith((".service", ".timer"))
]


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make share` writes."""
    directory = tmp_path_factory.mktemp("share")
    output("make", "-C", PROJECT, "share", f"SHARE={directory}")
    return directory


@pytest.fixture(scope="module")
def page(share: Path) -> Path:
    return share / "man/man1/ostree-sweep.1"


@pytest.fixture(scope="module")
def unit_page(share: Path) -> Path:
    return share / "man/man8/ostree-sweep-cleanup.service.8"


def test_man_pages_have_no_warnings(page: Path, unit_page: Path) -> None:
    for each in (page, unit_page):
        done = subprocess.run(["man", "--warnings", "-l", each], capture_output=True, text=True, check=True)
        assert done.stderr == ""


def test_man_pages_can_be_searched_for(page: Path, unit_page: Path) -> None:
    assert "ostree-sweep - clean up after OSTree updates" in output("lexgrog", page)
    for unit in UNITS:
        assert f"{unit} - clean up after an OSTree update" in output("lexgrog", unit_page)


def test_all_units_have_a_page_and_are_in_it(share: Path) -> None:
    for unit in UNITS:
        text = re.sub(".\b", "", output("man", "-M", share / "man", "8", unit))
        assert f"\n     {unit}\n             " in text


def test_man_page_has_all(page: Path) -> None:
    text = re.sub(".\b", "", output("man", "-l", page))
    for command in COMMANDS:
        assert f"COMMAND 'ostree-sweep {command}'" in text
    assert re.search(r"^EXIT STATUS$", text, re.MULTILINE)
    assert "--lock-slice SECONDS" in text
    assert '[refs."exampleos/devel"]' in text


def test_bash_completes(share: Path) -> None:
    script = """
    source "$1"
    complete -p ostree-sweep
    complete_at() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _shtab_ostree_sweep; echo "${COMPREPLY[*]}"; }
    complete_at ostree-sweep ""
    complete_at ostree-sweep prune --dry
    """
    done = output(
        "bash", "--norc", "-euc", script, "bash", share / "bash-completion/completions/ostree-sweep"
    )
    registered, commands, option = done.splitlines()
    assert registered.endswith(" ostree-sweep")
    assert set(COMMANDS) <= set(commands.split())
    assert option == "--dry-run"


def test_fish_completes(share: Path) -> None:
    script = 'source $argv[1]; complete -C "ostree-sweep "; complete -C "ostree-sweep prune --dry"'
    done = output("fish", "--no-config", "-c", script, share / "fish/vendor_completions.d/ostree-sweep.fish")
    assert {*COMMANDS, "--dry-run"} <= {line.split("\t")[0] for line in done.splitlines()}


def test_zsh_completes(share: Path, tmp_path: Path) -> None:
    """Zsh completes only what is typed, so it's typed."""
    (tmp_path / ".zshrc").write_text(
        f'PS1="ready "; fpath=({share}/zsh/site-functions $fpath); autoload -U compinit; compinit -u\n',
        encoding="utf-8",
    )
    ours, theirs = pty.openpty()
    zsh = subprocess.Popen(
        ["zsh", "-d", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb"},
    )
    try:
        read_until(ours, b"ready ")
        # With Tab, and then Ctrl-A to have the line printed.
        os.write(ours, b"ostree-sweep stam\t --sysr\t\x01print -r -- \n")
        read_until(ours, b"\nostree-sweep stamp --sysroot")
    finally:
        zsh.kill()
        zsh.wait()
        os.close(ours)
        os.close(theirs)


def read_until(terminal: int, awaited: bytes) -> None:
    seen = b""
    while awaited not in seen:
        readable, _, _ = select.select([terminal], [], [], 30)
        assert readable, seen
        seen += os.read(terminal, 4096)
