"""How much is taken and told of what others wrote into a repository."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.crash import worn_repo
from support.peaks import run_measured
from support.sysroots import COMMAND, output

if TYPE_CHECKING:
    from pathlib import Path

NAMES = 1_000_000
# In MiB: Python, and the commit of 36 MB twice; it was 850.
MEMORY = 160
HELD_MEMORY = 60

# By the system's Python, which has PyGObject: a commit that no ref leads to, made for so many refs.
_COMMITS = """if True:
    import struct, sys
    from itertools import accumulate
    import gi
    gi.require_version("OSTree", "1.0")
    from gi.repository import Gio, GLib, OSTree
    repo = OSTree.Repo.new(Gio.File.new_for_path(sys.argv[1]))
    repo.open(None)
    names = [b"branch/%024d\\0" % number for number in range(int(sys.argv[2]))]
    # By hand, as a million values would take their time.
    content = b"".join(names) + struct.pack(f"<{len(names)}I", *accumulate(map(len, names)))
    metadata = GLib.VariantDict()
    binding = GLib.Variant.new_from_bytes(GLib.VariantType("as"), GLib.Bytes(content), False)
    metadata.insert_value("ostree.ref-binding", binding)
    tree = repo.read_commit("main", None)[1]
    repo.prepare_transaction(None)
    print(repo.write_commit(None, None, None, metadata.end(), tree, None)[1])
    repo.commit_transaction(None)
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return worn_repo(tmp_path / "repo", "archive", versions=3)


def test_a_million_names_of_a_commit(repo: Path) -> None:
    commit = output("/usr/bin/python3", "-c", _COMMITS, repo, NAMES).strip()
    assert (repo / "objects" / commit[:2] / f"{commit[2:]}.commit").stat().st_size > 35_000_000

    done, peak = run_measured(COMMAND, "plan", f"--repo={repo}", "--refs-only", "--json")
    assert done.returncode == 0, done.stderr
    assert peak < MEMORY
    dropped = {each["commit"]: each for each in json.loads(done.stdout)["dropped"]}
    assert dropped[commit]["names"] == [f"branch/{number:024}" for number in range(16)]
    assert len(done.stdout) < 100_000
    lines, peak = run_measured(COMMAND, "plan", f"--repo={repo}", "--refs-only")
    assert peak < MEMORY
    assert max(map(len, lines.stdout.splitlines())) < 2_000


def test_a_name_without_end(repo: Path) -> None:
    """What is longer than a name of 256 bytes is cut, between two characters."""
    name = f"{'ä' * 200}/{'x' * 100_000}"
    tree = output("ostree", f"--repo={repo}", "commit", "--orphan", f"--bind-ref={name}", "--tree=ref=main")
    done = subprocess.run(
        [str(COMMAND), "plan", f"--repo={repo}", "--refs-only", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    dropped = {each["commit"]: each["names"] for each in json.loads(done.stdout)["dropped"]}
    assert dropped[tree.strip()] == ["ä" * 128 + "…"]


def test_a_large_commit_is_not_held_in_memory(repo: Path) -> None:
    """It is checked all the same."""
    commit = output("/usr/bin/python3", "-c", _COMMITS, repo, NAMES).strip()
    output("ostree", f"--repo={repo}", "refs", "--create=large", commit)
    prune = (COMMAND, "prune", f"--repo={repo}", "--refs-only", "--no-prune")
    done, peak = run_measured(*prune)
    assert done.returncode == 0, done.stderr
    # Python, and less than the commit of 36 MB.
    assert peak < HELD_MEMORY
    file = repo / "objects" / commit[:2] / f"{commit[2:]}.commit"
    for place in (1_000_000, 35_000_000):
        with file.open("r+b") as opened:
            opened.seek(place)
            before = opened.read(1)
            opened.seek(place)
            opened.write(b"!")
        done, _ = run_measured(*prune)
        assert done.returncode == 1
        assert f"{commit}.commit" in done.stderr
        assert "checksum" in done.stderr
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(before)
    done, _ = run_measured(*prune)
    assert done.returncode == 0, done.stderr
