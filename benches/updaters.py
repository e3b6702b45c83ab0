"""How long real updaters take on a busy disk, alone and beside a cleanup of the same repository.

Each runs with and without `cleanup --auto` beside it, in turns, each time on a fresh copy of a file system
with nothing in the page cache, while another program writes and syncs. Beside an update of flatpak's, which
has a repository of its own, runs what `cleanup --auto` does there: `prune --impact=idle`. An updater may take
1.2 times as long as alone and 0.3 s, and none may fail. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from disks import MKFS, Image, a_writer
from repositories import ROOT, SWEEP, drop_caches, make_repo

sys.path.append(str(ROOT / "tests/python"))
from support.sysroots import BRANCH, Sysroot, make_tree

OBJECTS_PER_DIRECTORY = 9

# Of the objects so many are garbage, which an updater that prunes deletes itself where no cleanup did.
GARBAGE = 0.05

# Directories of ten files that an update brings.
NEW = 200

APP, RUNTIME = "org.example.App", "org.example.Platform"

# A cleanup is given a second to begin. What it says is wanted only if it ends too soon.
SCRIPT = """
beside=$1 updater=$2
if [ -n "$beside" ]; then $beside >/dev/null 2>&1 & sleep 1; fi
start=$(date +%s%N)
status=0
sh -ec "$updater" >/dev/null || status=$?
echo $(($(date +%s%N) - start)) $status
if [ -n "$beside" ]; then
    if kill -TERM $! 2>/dev/null; then echo covered; fi
    wait $! || true
fi
"""

CLEANUP = f"{SWEEP} cleanup --auto --sysroot=/sysroot"
REPO = "--repo=/sysroot/ostree/repo"

# What runs in a booted deployment.
UPDATERS = {
    "deploy": f"ostree admin deploy --os=os {BRANCH}",
    "stage-and-finalize": f"ostree admin deploy --stage {BRANCH}; ostree admin finalize-staged",
    "pull-local": f"ostree pull-local {REPO} /sysroot/upstream upstream",
    "prune": f"ostree prune --refs-only --depth=0 {REPO}",
}
FLATPAK = "flatpak-update"

# Runs an updater in a file system, with a cleanup beside it or without, and returns what the script printed.
Update = Callable[[Path, bool], str]


@dataclasses.dataclass
class Runs:
    """Runs of one updater, alone or beside a cleanup.

    Attributes:
        seconds: how long each took.
        failed: how many failed.
        covered: beside how many the cleanup ran to their end.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: int = 0
    covered: int = 0

    def add(self, printed: str) -> None:
        """Adds a run by what its script printed."""
        first, *rest = printed.splitlines()
        nanoseconds, status = first.split()
        self.seconds.append(int(nanoseconds) / 1e9)
        self.failed += status != "0"
        self.covered += rest == ["covered"]


class System:
    """A sysroot whose cleanup is due, with an update to deploy and a repository to pull from."""

    def __init__(self, root: Path) -> None:
        self.path = root / "sysroot"

    def fill(self, objects: int) -> None:
        """Makes it."""
        sysroot = Sysroot.create(self.path, directories=NEW)
        sysroot.ostree("config", "set", "core.fsync", "true")
        sysroot.deploy(0)
        sysroot.commit(1)
        upstream, tree = self.path / "upstream", self.path / "tree"
        make_tree(tree, 7, "upstream", NEW)
        run("ostree", f"--repo={upstream}", "init", "--mode=archive")
        run("ostree", f"--repo={upstream}", "commit", "--branch=upstream", tree)
        shutil.rmtree(tree)
        directories = objects // OBJECTS_PER_DIRECTORY
        garbage = int(directories * GARBAGE)
        make_repo(sysroot.repo, "bare", directories=directories - garbage, files=8, garbage=garbage)
        sysroot.stamp.touch()

    def update(self, updater: str, beside: bool) -> str:
        """Runs an updater as in a booted system; returns what the script prints."""
        (booted,) = self.path.glob("ostree/deploy/os/deploy/*.0")
        script = ["sh", "-c", SCRIPT, "sh", CLEANUP if beside else "", UPDATERS[updater]]
        return Sysroot(self.path).boot(booted.stem, *script).stdout


class Apps:
    """A user's installation of flatpak's, with an update to install."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.repo = root / "data/flatpak/repo"
        self.hub = root / "hub"
        self.environment = {
            **os.environ,
            "HOME": str(root),
            "XDG_DATA_HOME": str(root / "data"),
            "XDG_CACHE_HOME": str(root / "cache"),
            "FLATPAK_SYSTEM_DIR": str(root / "system"),
        }

    def fill(self, objects: int) -> None:
        """Makes it."""
        runtime = self.root / "runtime"
        (runtime / "usr/bin").mkdir(parents=True)
        (runtime / "files").mkdir()
        (runtime / "metadata").write_text(f"[Runtime]\nname={RUNTIME}\n")
        self._flatpak("build-export", "--runtime", self.hub, runtime, "1")
        self._publish(1)
        self._flatpak("--user", "remote-add", "--no-gpg-verify", "hub", f"file://{self.hub}")
        self._flatpak("--user", "install", "-y", "hub", APP)
        self._publish(2)
        # By default it leaves 500 MB of the disk free.
        run("ostree", f"--repo={self.repo}", "config", "set", "core.min-free-space-size", "1MB")
        bulk = self.root / "bulk"
        make_repo(bulk, "archive", directories=objects // OBJECTS_PER_DIRECTORY, files=8)
        commit = run("ostree", f"--repo={bulk}", "rev-parse", "app/0/stable").strip()
        run("ostree", f"--repo={self.repo}", "pull-local", "--disable-fsync", bulk, commit)
        run("ostree", f"--repo={self.repo}", "refs", "--create=bulk", commit)
        shutil.rmtree(bulk)

    def update(self, beside: bool) -> str:
        """Updates what is installed; returns what the script prints."""
        self._flatpak("--user", "remote-modify", f"--url=file://{self.hub}", "hub")
        prune = f"{SWEEP} prune --repo={self.repo} --refs-only --depth=0 --impact=idle" if beside else ""
        return run("sh", "-c", SCRIPT, "sh", prune, "flatpak --user update -y", environment=self.environment)

    def _publish(self, version: int) -> None:
        app = self.root / "app"
        shutil.rmtree(app, ignore_errors=True)
        (app / "files/bin").mkdir(parents=True)
        (app / "export").mkdir()
        keys = f"name={APP}\nruntime={RUNTIME}/{os.uname().machine}/1\ncommand=run"
        (app / "metadata").write_text(f"[Application]\n{keys}\n")
        for number in range(NEW * 10):
            (app / f"files/part{number}").write_text(f"{version} {number}\n" * 100)
        self._flatpak("build-export", self.hub, app, "stable")
        self._flatpak("build-update-repo", self.hub)

    def _flatpak(self, *arguments: str | Path) -> None:
        run("flatpak", *arguments, environment=self.environment)


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Runs a command; returns what it prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def measure(image: Image, busy: bool, rounds: int, updaters: dict[str, Callable[[Path, bool], str]]) -> None:
    """Runs all in turns, each alone and beside a cleanup, and prints medians."""
    found = {name: (Runs(), Runs()) for name in updaters}
    for _ in range(rounds):
        for name, update in updaters.items():
            for beside, runs in enumerate(found[name]):
                with image.copy(None) as root:
                    drop_caches()
                    with a_writer(root) if busy else contextlib.nullcontext():
                        runs.add(update(root, bool(beside)))
    for name, (alone, beside) in found.items():
        print(row(name, alone, beside), flush=True)
    image.remove()


def row(name: str, alone: Runs, beside: Runs) -> str:
    """A table's row."""
    medians = [statistics.median(runs.seconds) for runs in (alone, beside)]
    times = " | ".join(
        f"{middle:.2f} s ({min(runs.seconds):.2f} to {max(runs.seconds):.2f})"
        for middle, runs in zip(medians, (alone, beside), strict=True)
    )
    failed = f"{beside.failed} (alone {alone.failed})"
    covered = f"{beside.covered} of {len(beside.seconds)}"
    return f"| {name} | {times} | {medians[0] * 1.2 + 0.3:.2f} s | {failed} | {covered} |"


def main() -> None:
    """Prints a table for each file system and disk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, help="where to work: the disk that is measured")
    parser.add_argument("--objects", type=int, default=100_000, help="size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (default: %(default)s)")
    parser.add_argument("--file-systems", nargs="*", default=["ext4"], choices=list(MKFS))
    parser.add_argument("--disks", nargs="*", default=["busy"], choices=["busy", "quiet"])
    parser.add_argument("--updaters", nargs="*", default=[*UPDATERS, FLATPAK], choices=[*UPDATERS, FLATPAK])
    arguments = parser.parse_args()
    objects = arguments.objects
    updaters: dict[str, Update] = {
        name: lambda root, beside, name=name: System(root).update(name, beside)
        for name in UPDATERS
        if name in arguments.updaters
    }
    flatpak: dict[str, Callable[[Path, bool], str]] = {
        FLATPAK: lambda root, beside: Apps(root).update(beside)
    }
    contestants: list[tuple[Callable[[Path], None], dict[str, Callable[[Path, bool], str]]]] = []
    if updaters:
        contestants.append((lambda root: System(root).fill(objects), updaters))
    if FLATPAK in arguments.updaters:
        contestants.append((lambda root: Apps(root).fill(objects), flatpak))
    # Besides the objects there are checkouts, and what an update brings.
    size_mib, inodes = 512 + objects * 7 // 1024, 2 * objects + 100_000
    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        for file_system in arguments.file_systems:
            for disk in arguments.disks:
                print(f"\n### {objects:,} objects, {file_system}, {disk} disk\n")
                print("| | alone | beside a cleanup | at most | failed | covered |")
                print("|---|---:|---:|---:|---:|---:|", flush=True)
                for fill, chosen in contestants:
                    image = Image(Path(place, file_system), file_system, size_mib, fill, inodes)
                    measure(image, disk == "busy", arguments.rounds, chosen)


if __name__ == "__main__":
    main()
