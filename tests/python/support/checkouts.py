"""Checkouts that no deployment needs, and what may be in the way of removing them."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .sysroots import COMMAND, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KEY = b"backing-root-device-inode\0"


def leave(sysroot: Sysroot, serial: int, checksum: str) -> Path:
    """Leaves a checkout, with its origin, as a deployment does that is cut off at its end.

    Args:
        sysroot: where.
        serial: tells it from others.
        checksum: of a deployed commit, of which it is a checkout. It gets another one's name.
    """
    deployed = sysroot.deployment(checksum)
    checkout = deployed.with_name(f"{serial:064x}.{serial}")
    output("cp", "-al", deployed, checkout)
    shutil.copy(deployed.with_name(f"{deployed.name}.origin"), origin_of(checkout))
    output("chattr", "+i", checkout)
    return checkout


@contextmanager
def writable(checkout: Path) -> Iterator[Path]:
    """A checkout whose directory may be written to meanwhile."""
    output("chattr", "-i", checkout)
    yield checkout
    output("chattr", "+i", checkout)


def origin_of(checkout: Path) -> Path:
    """The origin file of a checkout."""
    return checkout.with_name(f"{checkout.name}.origin")


def name_of(checkout: Path) -> str:
    """How reports name a checkout."""
    return f"{checkout.parent.parent.name}/{checkout.name}"


def fill_with_links(directory: Path, count: int) -> None:
    """Makes a directory with so many files, which are links to few."""
    directory.mkdir()
    for number in range(count):
        first = directory / str(number - number % 10_000)
        if number % 10_000:
            os.link(first, directory / str(number))
        else:
            first.touch()


def dig(directory: Path, depth: int) -> None:
    """Makes directories, each below the other, with a file in the last."""
    at = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deeper", dir_fd=at)
        below = os.open("deeper", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """A bind mount."""
    output("mount", "--bind", source, target)
    try:
        yield
    finally:
        output("umount", target)


def next_root(directory: Path) -> bytes:
    """What libostree writes into `/run/ostree/nextroot-booted`: the directory behind the root, an `a{sv}`."""
    status = directory.stat()
    entry = (
        _KEY.ljust(32, b"\0")
        + struct.pack("=QQ", status.st_dev, status.st_ino)
        + b"\0(tt)"
        + bytes([len(_KEY)])
    )
    return entry + bytes([len(entry)])


def attempt(sysroot: Sysroot, *options: object) -> subprocess.CompletedProcess[str]:
    """Cleans up a sysroot that has a stamp, which may fail."""
    # Where others use the disk, the default would rest for long.
    command = [str(COMMAND), "cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}"]
    return subprocess.run([*command, *map(str, options)], check=False, capture_output=True, text=True)
