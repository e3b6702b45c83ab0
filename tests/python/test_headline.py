"""What people read first and last: `status`' first line, `status --check`, and the last lines of a run."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.sysroots import BRANCH, COMMAND, Sysroot
from support.terminal import on_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot with one deployment and nothing to clean up."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    yield sysroot
    sysroot.remove()


def sweep(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, words)], check=False, capture_output=True, text=True)


def checked(sysroot: Sysroot) -> tuple[int, str]:
    """What `--check` answers; the first line and the JSON of `status` have to say the same."""
    where = f"--sysroot={sysroot.path}"
    done = sweep("status", where, "--check")
    whole = sweep("status", where).stdout.splitlines()
    assert [whole[0], whole[1]] == [*done.stdout.splitlines(), ""]
    told = json.loads(sweep("status", where, "--json").stdout)
    assert done.stdout == f"{told['summary']}\n"
    return done.returncode, told["state"]


def garbage(sysroot: Sysroot) -> None:
    sysroot.commit(2, "dead")
    sysroot.ostree("refs", "--delete", "dead")


@pytest.mark.needs_root
def test_the_first_line_says_what_there_is_to_do(sysroot: Sysroot) -> None:
    assert checked(sysroot) == (0, "nothing-to-do")
    sysroot.stamp.touch()
    assert checked(sysroot) == (3, "due")
    sysroot.stamp.unlink()
    garbage(sysroot)
    assert checked(sysroot) == (3, "reclaimable")
    line = sweep("status", f"--sysroot={sysroot.path}", "--check").stdout
    assert line.endswith(f" can be freed: run 'ostree-sweep cleanup --sysroot={sysroot.path}'\n")
    sweep("cleanup", f"--sysroot={sysroot.path}")
    assert checked(sysroot) == (0, "nothing-to-do")


@pytest.mark.needs_root
def test_the_first_line_says_that_a_cleanup_would_refuse(sysroot: Sysroot) -> None:
    entries = sysroot.path / "boot" / "loader"
    entries.rename(entries.with_name("hidden"))
    assert checked(sysroot) == (1, "blocked")
    line = sweep("status", f"--sysroot={sysroot.path}", "--check").stdout
    assert line.startswith("Cannot clean up: /boot is probably not mounted")
    assert sweep("cleanup", f"--sysroot={sysroot.path}").returncode == 1


@pytest.mark.needs_root
def test_a_leftover_checkout_is_something_to_do(sysroot: Sysroot) -> None:
    checkouts = sysroot.path / "ostree/deploy/os/deploy"
    (checkouts / f"{'0' * 64}.0").mkdir()
    assert checked(sysroot) == (3, "reclaimable")


@pytest.mark.needs_root
def test_a_repository_has_a_first_line_too(sysroot: Sysroot) -> None:
    where = f"--repo={sysroot.repo}"
    assert sweep("status", where, "--check").stdout == "Nothing to do\n"
    dead = sysroot.commit(2, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    # A commit without a ref is one that `prune` keeps; what it leaves behind is garbage.
    (sysroot.repo / "objects" / dead[:2] / f"{dead[2:]}.commit").unlink()
    done = sweep("status", where, "--check")
    assert (done.returncode, done.stdout.split(" can be freed: ")[1]) == (
        3,
        f"run 'ostree-sweep prune --repo={sysroot.repo}'\n",
    )


@pytest.mark.needs_root
def test_the_last_lines_say_how_long_it_took_and_what_is_next(sysroot: Sysroot) -> None:
    garbage(sysroot)
    first = sweep("cleanup", f"--sysroot={sysroot.path}", "--max-freed=1")
    assert first.stdout.splitlines()[-1] == "Next: run the command again; it deletes the rest"
    last = sweep("cleanup", f"--sysroot={sysroot.path}")
    assert last.stdout.splitlines()[-1].startswith("Deleted ")
    assert last.stdout.rstrip().endswith(" s")


@pytest.mark.needs_root
def test_a_dry_run_says_would_throughout(sysroot: Sysroot) -> None:
    garbage(sysroot)
    (sysroot.path / "ostree/deploy/os/deploy" / f"{'0' * 64}.0").mkdir()
    for words in (["--dry-run"], ["--dry-run", "--max-freed=1"]):
        lines = sweep("cleanup", f"--sysroot={sysroot.path}", *words).stdout.splitlines()
        assert lines
        assert all("ould " in line for line in lines), lines


@pytest.mark.needs_root
def test_a_terminal_is_told_what_a_prune_freed_on_disk(sysroot: Sysroot) -> None:
    garbage(sysroot)
    prune = ["prune", f"--repo={sysroot.repo}", "--refs-only"]
    assert "On disk: would free " in on_terminal(80, *prune, "--dry-run")
    assert " freed in " in on_terminal(80, *prune).splitlines()[-1]


@pytest.mark.needs_root
def test_colours_repeat_words_and_can_be_turned_off(sysroot: Sysroot) -> None:
    words = ["status", f"--sysroot={sysroot.path}", "--check"]
    assert on_terminal(80, *words) == "\x1b[32mNothing to do\x1b[0m\n"
    assert on_terminal(80, *words, NO_COLOR="1") == "Nothing to do\n"
    assert on_terminal(80, *words, TERM="dumb") == "Nothing to do\n"
    assert "\x1b[1;31merror:\x1b[0m" in on_terminal(80, "why", "zzzz", f"--repo={sysroot.repo}")


@pytest.mark.needs_root
def test_a_terminal_gets_bars_as_wide_as_it_has_room(sysroot: Sysroot) -> None:
    sysroot.commit(2, "other")
    du = ["du", f"--repo={sysroot.repo}"]
    for columns in (80, 120):
        lines = on_terminal(columns, *du).splitlines()
        bars = [line for line in lines if "█" in line or "░" in line]
        assert len(bars) == len([line for line in lines if line.startswith((BRANCH, "other", "ostree/"))])
        assert max(map(len, lines)) <= columns
    assert "░" not in on_terminal(30, *du)
    assert "#" in on_terminal(80, *du, LC_ALL="C", LANG="C")
    assert not {"█", "░", "#"} & set(sweep(*du).stdout)
