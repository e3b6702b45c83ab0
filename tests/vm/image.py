"""A bootable disk with this package installed, made from scratch; its slow and unchanging part is kept.

Three versions of a small Debian: the first two are deployed, the second boots, and the third is in the
repository for an update. Each has files of its own besides those that all share.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
KEPT = PROJECT / "target" / "vm"
BRANCH = "os/stable"
VERSIONS = (1, 2, 3)
OWN_FILES = 6000
LABEL = "sysroot"

_KERNEL_ARGUMENTS = (
    f"root=LABEL={LABEL}",
    "rw",
    # So that a cut finds more than the first and the last of what a few seconds change.
    "rootflags=commit=1",
    "console=ttyS0",
    "quiet",
    "panic=1",
    "mitigations=off",
    "nokaslr",
    "rd.shell=0",
    "rd.emergency=reboot",
    "systemd.show_status=0",
)

_AGENT_UNIT = """\
[Unit]
Description=Runs the tests' commands

[Service]
ExecStart=/usr/bin/python3 /usr/lib/vm/agent.py

[Install]
WantedBy=multi-user.target
"""

# Tells the tests when the cleanup runs. The plus: outside of the unit's sandbox, but for the list of devices.
_MARKS = """\
[Service]
DeviceAllow=/dev/ttyS0 w
ExecStartPre=+/bin/sh -c 'echo cleanup begins >/dev/ttyS0'
ExecStopPost=+/bin/sh -c 'echo cleanup ends >/dev/ttyS0'
"""


@dataclass(frozen=True)
class Disk:
    """A disk's image."""

    path: Path

    def copy(self, path: Path) -> Disk:
        """A copy of it, holes and all."""
        run("cp", "--sparse=always", "--reflink=auto", self.path, path)
        return Disk(path)

    @contextmanager
    def mounted(self, options: str = "loop,ro,noload") -> Iterator[Path]:
        """Mounts it; by default without a write, not even of what its journal holds."""
        directory = self.path.with_suffix(".mnt")
        directory.mkdir(exist_ok=True)
        _mount(options, self.path, directory)
        try:
            yield directory
        finally:
            run("umount", directory)


def _mount(options: str, image: Path, directory: Path) -> None:
    """Mounts an image. Where many come and go at once, a loop device may be busy for a moment."""
    for _ in range(5):
        with suppress(AssertionError):
            run("mount", "-o", options, image, directory)
            return
        time.sleep(0.5)
    run("mount", "-o", options, image, directory)


def run(*command: object) -> str:
    """Runs a command; returns what it prints."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(directory: Path) -> Disk:
    """Makes the disk in a directory of its own."""
    tree = directory / "tree"
    run("cp", "-a", base(), tree)
    install(tree, directory)
    (tree / "etc").rename(tree / "usr" / "etc")
    disk = Disk(directory / "disk.img")
    with disk.path.open("wb") as file:
        file.truncate(5 << 30)
    run("mkfs.ext4", "-q", "-L", LABEL, disk.path)
    with disk.mounted("loop") as sysroot:
        deploy(tree, sysroot)
    shutil.rmtree(tree)
    return disk


def base() -> Path:
    """The system without this package, which depends on its recipe alone."""
    recipe = HERE / "base.sh"
    kept = KEPT / f"base-{hashlib.sha256(recipe.read_bytes()).hexdigest()[:16]}"
    if not kept.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob("base-*"):
            shutil.rmtree(old)
        made = kept.with_name(f"base-{os.getpid()}")
        run(recipe, made)
        made.rename(kept)
    return kept


def install(tree: Path, directory: Path) -> None:
    """Installs this package's wheel and its units, turned on, and what the tests need."""
    wheels = directory / "wheels"
    maturin = Path(sys.executable).with_name("maturin")
    run(maturin, "build", "--release", "--locked", f"--manifest-path={PROJECT}/Cargo.toml", f"--out={wheels}")
    (wheel,) = wheels.iterdir()
    shutil.copy(wheel, tree)
    chroot = ("chroot", tree, "env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin")
    run(*chroot, "python3", "-m", "installer", f"/{wheel.name}")
    # As in the base: for OSTree's files without times.
    compiled = ("compileall", "-q", "-f", "--invalidation-mode=unchecked-hash", "/usr/local/lib/python3.11")
    run(*chroot, "python3", "-m", *compiled)
    (tree / wheel.name).unlink()
    run(*chroot, "ostree-sweep", "install-units", "--prefix=/usr/local")
    own = tree / "usr" / "lib" / "vm"
    own.mkdir()
    shutil.copy(HERE / "agent.py", own)
    (tree / "etc/systemd/system/agent.service").write_text(_AGENT_UNIT)
    marks = tree / "etc/systemd/system/ostree-sweep-cleanup.service.d"
    marks.mkdir()
    (marks / "marks.conf").write_text(_MARKS)
    run(*chroot, "systemctl", "enable", "agent.service", *UNITS)


UNITS = ("ostree-sweep-cleanup.service", "ostree-sweep-finalized.service")


def deploy(tree: Path, sysroot: Path) -> None:
    """Commits all versions and deploys all but the last."""
    ostree = ("ostree", f"--repo={sysroot}/ostree/repo")
    admin = ("ostree", "admin", f"--sysroot={sysroot}")
    run(*admin, "init-fs", sysroot)
    run(*admin, "os-init", "os")
    run(*ostree, "config", "set", "sysroot.bootloader", "none")
    (modules,) = (tree / "usr/lib/modules").iterdir()
    initramfs = (modules / "initramfs.img").read_bytes()
    for version in VERSIONS:
        own = tree / "usr/share/vm"
        shutil.rmtree(own, ignore_errors=True)
        for number in range(OWN_FILES):
            path = own / f"{number // 20}" / f"{number % 20}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{version} {number}\n" * 50)
        # Zeros at the end mean nothing to the kernel; to OSTree it is another kernel.
        (modules / "initramfs.img").write_bytes(initramfs + bytes(512 * version))
        commit = (*ostree, "commit", "--no-xattrs", "--fsync=false", f"--branch={BRANCH}")
        run(*commit, f"--add-metadata-string=version={version}", f"--tree=dir={tree}")
        if version != VERSIONS[-1]:
            first = [f"--karg={word}" for word in _KERNEL_ARGUMENTS] if version == VERSIONS[0] else []
            run(*admin, "deploy", "--os=os", *first, BRANCH)
