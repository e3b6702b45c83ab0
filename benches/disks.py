"""File systems to measure on: loop-mounted images, as fast as the disk that holds them, or slowed down."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Each with the least that its mkfs asks for, and no work left over for the first mount.
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}


class Image:
    """A file system with some contents, of which each run gets a copy.

    ext4 has as many inodes as it is made with: by default one for each 16 KiB.
    """

    def __init__(
        self,
        path: Path,
        file_system: str,
        size_mib: int,
        fill: Callable[[Path], None],
        inodes: int | None = None,
    ) -> None:
        self._path = path
        with path.open("wb") as file:
            file.truncate(size_mib << 20)
        options = ["-N", str(inodes)] if inodes is not None and file_system == "ext4" else []
        _run(*MKFS[file_system], *options, path)
        with _mounted(path) as root:
            fill(root)

    def remove(self) -> None:
        """Deletes it."""
        self._path.unlink()

    @contextlib.contextmanager
    def copy(self, iops: int | None) -> Iterator[Path]:
        """Mounts a fresh copy, nothing of which is in the page cache; at most `iops` requests a second."""
        image = self._path.with_suffix(".copy")
        # With no holes, or a write would be one more to the file system below, and to its journal.
        _run("cp", "--sparse=never", "--reflink=never", self._path, image)
        _run("sync", "-f", image)
        Path("/proc/sys/vm/drop_caches").write_text("3")
        try:
            if iops is None:
                with _mounted(image, "--direct-io=on") as root:
                    yield root
            else:
                # Without direct I/O: through FUSE, what is read then is not always what was written.
                with _throttled(image, iops) as slow, _mounted(slow) as root:
                    yield root
        finally:
            image.unlink()


@contextlib.contextmanager
def a_writer(directory: Path) -> Iterator[None]:
    """Another program writes and syncs 64 MiB, over and over."""
    write = f"dd if=/dev/zero of={directory}/busy bs=1M count=64 conv=fsync 2>/dev/null"
    # The shell ends after the write that it is at, so that nobody uses the file system any more.
    with subprocess.Popen(["sh", "-c", f"trap exit TERM; while :; do {write}; done"]) as writer:
        try:
            yield
        finally:
            writer.terminate()


@contextlib.contextmanager
def _mounted(image: Path, *options: str) -> Iterator[Path]:
    device = _run("losetup", "--find", "--show", *options, image).strip()
    try:
        with tempfile.TemporaryDirectory(dir=image.parent) as root:
            _run("mount", device, root)
            try:
                yield Path(root)
            finally:
                _run("umount", root)
    finally:
        _run("losetup", "--detach", device)


@contextlib.contextmanager
def _throttled(image: Path, iops: int) -> Iterator[Path]:
    """The image behind the throttle that QEMU puts on a guest's disk."""
    slow = image.with_suffix(".slow")
    slow.touch()
    # In the page cache, or what the disk below takes came on top of it.
    _run("dd", f"if={image}", "of=/dev/null", "bs=1M", "status=none")
    command = [
        "qemu-storage-daemon",
        f"--object=throttle-group,id=throttle,x-iops-total={iops}",
        f"--blockdev=driver=file,node-name=file,filename={image}",
        "--blockdev=driver=throttle,node-name=slow,file=file,throttle-group=throttle",
        f"--export=type=fuse,id=export,node-name=slow,mountpoint={slow},writable=on",
    ]
    with subprocess.Popen(command) as daemon:
        try:
            while slow.stat().st_size == 0:
                if daemon.poll() is not None:
                    raise SystemExit(f"{command[0]}: {daemon.returncode}")
                time.sleep(0.01)
            yield slow
        finally:
            daemon.terminate()
    slow.unlink()


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
