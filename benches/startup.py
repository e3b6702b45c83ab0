"""What starting takes: the import, the whole command, and a call in a process that runs."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from repositories import ROOT, SWEEP, make_repo

from measure import Contestant, as_it_is, report, run, table

PASS = Contestant("`python3 -c pass`", lambda _: [sys.executable, "-c", "pass"])
CLEANUP = Contestant(
    "`ostree-sweep cleanup --auto`", lambda sysroot: [SWEEP, "cleanup", "--auto", f"--sysroot={sysroot}"]
)
OSTREE = Contestant(
    "`ostree admin cleanup`", lambda sysroot: ["ostree", "admin", "cleanup", f"--sysroot={sysroot}"]
)
MODULES = Contestant("`import json, argparse`", lambda _: [sys.executable, "-c", "import json, argparse"])
IMPORT = Contestant("`import ostree_sweep`", lambda _: [sys.executable, "-c", "import ostree_sweep"])
PRUNE = Contestant(
    "`ostree-sweep prune --refs-only`", lambda repo: [SWEEP, "prune", f"--repo={repo}", "--refs-only"]
)

# Prunes each repository in a directory so many times. PyGObject is installed for the system's Python.
PYTHON = "/usr/bin/python3"
BY_PYGOBJECT = """
import sys, os, gi
gi.require_version("OSTree", "1.0")
from gi.repository import Gio, OSTree
for name in os.listdir(sys.argv[1]):
    repo = OSTree.Repo.new(Gio.File.new_for_path(os.path.join(sys.argv[1], name)))
    repo.open(None)
    for _ in range(int(sys.argv[2])):
        repo.prune(OSTree.RepoPruneFlags.REFS_ONLY, 0, None)
"""
BY_SWEEP = """
import sys, os
sys.path.insert(0, sys.argv[3])
import ostree_sweep
for name in os.listdir(sys.argv[1]):
    for _ in range(int(sys.argv[2])):
        ostree_sweep.prune(os.path.join(sys.argv[1], name), refs_only=True)
"""


def callers(times: int) -> list[Contestant]:
    """Processes that prune each repository in a directory so many times."""
    package = ROOT / "python"
    return [
        Contestant(
            "`OSTree.Repo.prune`, PyGObject", lambda place: [PYTHON, "-c", BY_PYGOBJECT, place, str(times)]
        ),
        Contestant(
            "`ostree_sweep.prune`", lambda place: [PYTHON, "-c", BY_SWEEP, place, str(times), str(package)]
        ),
    ]


def make_small(repo: Path) -> None:
    """Makes a repository of nine objects, four of which are garbage."""
    tree = repo.with_name("tree")
    tree.mkdir()
    subprocess.run(["ostree", "init", "--mode=archive", f"--repo={repo}"], check=True)
    for branch in ("live", "dead"):
        for number in range(2):
            (tree / f"file-{number}").write_text(f"{branch} {number}")
        subprocess.run(
            ["ostree", "commit", f"--repo={repo}", f"--branch={branch}", tree],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    subprocess.run(["ostree", "refs", f"--repo={repo}", "--delete", "dead"], check=True)


@contextlib.contextmanager
def copies(repo: Path, number: int) -> Iterator[Path]:
    """A directory with so many copies of a repository, of which nothing is left to be written back."""
    with tempfile.TemporaryDirectory(dir=repo.parent) as place:
        for each in range(number):
            shutil.copytree(repo, Path(place) / str(each), symlinks=True)
        os.sync()
        yield Path(place)


@contextlib.contextmanager
def new_sysroot() -> Iterator[Path]:
    """A sysroot of a small device, where a cleanup is due."""
    with tempfile.TemporaryDirectory() as place:
        sysroot = Path(place)
        subprocess.run(["ostree", "admin", "init-fs", sysroot], check=True)
        make_repo(sysroot / "ostree" / "repo", "bare", "device")
        subprocess.run([SWEEP, "stamp", f"--sysroot={sysroot}"], check=True, stdout=subprocess.DEVNULL)
        yield sysroot


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each contestant (default: 5)")
    parser.add_argument("--write", action="store_true", help="write to docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, report("startup", write=arguments.write):
        subprocess.run(["ostree", "admin", "init-fs", place], check=True)
        table("The import", run([MODULES, IMPORT], 8 * arguments.rounds, as_it_is(Path(place))))
        table("Nothing to do", run([PASS, CLEANUP], 4 * arguments.rounds, as_it_is(Path(place))))
        for title, where in (("on a disk", None), ("in memory", "/dev/shm")):  # noqa: S108
            with tempfile.TemporaryDirectory(dir=where) as small:
                repo = Path(small) / "repo"
                make_small(repo)
                garbage = run(callers(1), arguments.rounds, lambda repo=repo: copies(repo, 100))
                table(f"100 calls {title}, each on nine objects of which four are garbage", garbage)
                words = [SWEEP, "prune", f"--repo={repo}", "--refs-only"]
                subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
                none = run(callers(1000), arguments.rounds, lambda repo=repo: copies(repo, 1))
                table(f"1,000 calls {title}, on a repository without garbage", none)
                if where is None:
                    whole = run([PASS, PRUNE], 4 * arguments.rounds, as_it_is(repo))
                    table("The whole command, on a repository without garbage", whole)
        table("A small device's cleanup", run([PASS, CLEANUP, OSTREE], arguments.rounds, new_sysroot))


if __name__ == "__main__":
    main()
