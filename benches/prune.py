"""Deletes three quarters of 200,000 objects on several file systems, beside others' prunes and the floor.

Needs root, which may mount.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from crawl import FLATPAK, PRUNE
from disks import MKFS, Image
from repositories import core, make_repo

from measure import Contestant, report, run, table

OSTREE = Contestant("`ostree prune`", lambda repo: ["ostree", "prune", "--refs-only", f"--repo={repo}"])
SWEEP_ALONE = Contestant("the core's sweep alone", lambda repo: [core(), "sweep", repo])
FLOORS = [
    Contestant("floor: a bare loop of unlinks, by directory", lambda repo: [core(), "unlink", repo]),
    Contestant("the same by inode", lambda repo: [core(), "unlink-by-inode", repo]),
    Contestant("the same by inode, one thread", lambda repo: [core(), "unlink-by-inode", repo, "1"]),
]

# Nine objects each.
DIRECTORIES = 22_000


def fill(mode: str, directories: int) -> Callable[[Path], None]:
    """Makes the repository, three quarters of which are garbage."""

    def fill_root(root: Path) -> None:
        kept = directories // 4
        make_repo(root / "repo", mode, directories=kept, files=8, garbage=directories - kept)

    return fill_root


def fill_with_updates(root: Path) -> None:
    """As large a repository of ten applications, nine of which are garbage that came one after the other."""
    make_repo(root / "repo", "bare", directories=DIRECTORIES // 10, files=8, refs=10)
    for number in range(1, 10):
        shutil.rmtree(root / "repo/refs/heads/app" / str(number))


@contextlib.contextmanager
def in_memory(mode: str, directories: int) -> Iterator[Path]:
    """A new repository on a tmpfs."""
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80%", "tmpfs", root], check=True)
        try:
            fill(mode, directories)(Path(root))
            yield Path(root, "repo")
        finally:
            subprocess.run(["umount", root], check=True)


def warmed(image: Image) -> Callable[[], AbstractContextManager[Path]]:
    """A copy for each run, with all its inodes and metadata in the page cache."""

    @contextlib.contextmanager
    def fresh() -> Iterator[Path]:
        with image.copy(None) as root:
            subprocess.run([core(), "crawl", root / "repo"], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(["find", root, "-size", "+1024G"], check=True)
            yield root / "repo"

    return fresh


def cold(image: Image) -> Callable[[], AbstractContextManager[Path]]:
    """A copy for each run, with nothing in the page cache."""

    @contextlib.contextmanager
    def fresh() -> Iterator[Path]:
        with image.copy(None) as root:
            yield root / "repo"

    return fresh


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant (default: 3)")
    parser.add_argument("--directories", type=int, default=DIRECTORIES, help="size of the repository")
    parser.add_argument("--file-systems", nargs="*", default=[*MKFS, "tmpfs"], choices=[*MKFS, "tmpfs"])
    parser.add_argument("--dir", type=Path, help="where to make images")
    parser.add_argument("--write", action="store_true", help="write to docs/performance.md")
    arguments = parser.parse_args()
    contestants = [OSTREE, PRUNE, SWEEP_ALONE, *FLOORS]

    def bench(
        title: str, contestants: list[Contestant], fresh: Callable[[], AbstractContextManager[Path]]
    ) -> None:
        table(title, run(contestants, arguments.rounds, fresh, warm_up=False))

    with tempfile.TemporaryDirectory(dir=arguments.dir) as place, report("prune", write=arguments.write):
        for file_system in arguments.file_systems:
            if file_system == "tmpfs":
                bench("tmpfs", contestants, lambda: in_memory("bare", arguments.directories))
                continue
            image = Image(Path(place, file_system), file_system, 4096, fill("bare", arguments.directories))
            bench(f"{file_system}, warm", contestants, warmed(image))
            bench(f"{file_system}, cold", [OSTREE, PRUNE], cold(image))
            image.remove()
        if "xfs" in arguments.file_systems:
            image = Image(Path(place, "updates"), "xfs", 4096, fill_with_updates)
            bench("xfs, garbage of nine commits, warm", contestants, warmed(image))
            image.remove()
        if "ext4" in arguments.file_systems:
            image = Image(Path(place, "archive"), "ext4", 4096, fill("archive", arguments.directories))
            bench("archive on ext4, warm", [FLATPAK, OSTREE, PRUNE], warmed(image))


if __name__ == "__main__":
    main()
