"""The stamp on real file systems: durable, bounded, and never lost to somebody else's cleanup."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ostree_sweep import NotARepoError
from ostree_sweep.stamp import CleanupStamp, StampNote
from support.samples import ostree
from support.sysroots import PROJECT, Sysroot

CHECKSUM = "0123456789abcdef" * 4
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


@pytest.fixture
def stamp(tmp_path: Path) -> CleanupStamp:
    return CleanupStamp(tmp_path / ".cleanup")


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_request_is_one_line_of_json(stamp: CleanupStamp) -> None:
    note = stamp.request([CHECKSUM])

    lines = Path(stamp.path).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == {
        "version": 1,
        "boot_id": BOOT_ID,
        "time": note.time,
        "deployed": [CHECKSUM],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", note.time)
    snapshot = stamp.read()
    assert snapshot is not None
    assert snapshot.note == note


def test_checksums_may_be_unknown(stamp: CleanupStamp) -> None:
    assert stamp.request().deployed == ()


def test_a_request_leaves_nothing_else_behind(stamp: CleanupStamp, tmp_path: Path) -> None:
    stamp.request()
    stamp.request()
    assert listing(tmp_path) == [".cleanup"]


def test_a_request_that_fails_leaves_nothing_behind(stamp: CleanupStamp, tmp_path: Path) -> None:
    (tmp_path / ".cleanup").mkdir()
    with pytest.raises(IsADirectoryError):
        stamp.request()
    assert listing(tmp_path) == [".cleanup"]


def test_a_request_replaces_a_symlink_and_not_its_target(stamp: CleanupStamp, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious", encoding="utf-8")
    (tmp_path / ".cleanup").symlink_to(target)
    stamp.request()
    assert target.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / ".cleanup").is_symlink()


def test_no_directory(tmp_path: Path) -> None:
    stamp = CleanupStamp(tmp_path / "absent" / ".cleanup")
    assert stamp.read() is None
    with pytest.raises(FileNotFoundError) as caught:
        stamp.request()
    assert caught.value.filename == stamp.path


def test_an_empty_file_is_a_stamp(stamp: CleanupStamp) -> None:
    subprocess.run(["touch", stamp.path], check=True)
    snapshot = stamp.read()
    assert snapshot is not None
    assert snapshot.note is None
    assert stamp.remove(snapshot)
    assert stamp.read() is None


@pytest.mark.parametrize(
    "content",
    [
        "not json",
        "\udcff",
        "null",
        "[]",
        "{}",
        "[" * 50_000,
        json.dumps({"version": 2, "boot_id": BOOT_ID, "time": "2026-01-01T00:00:00Z", "deployed": []}),
        json.dumps({"version": 1, "boot_id": BOOT_ID, "time": "\x1b[2J", "deployed": []}),
        json.dumps({"version": 1, "boot_id": BOOT_ID, "time": "2026-01-01T00:00:00Z", "deployed": ["\x1b"]}),
        json.dumps({"version": 1, "boot_id": 7, "time": "2026-01-01T00:00:00Z", "deployed": []}),
    ],
)
def test_foreign_content_is_a_stamp_without_a_note(stamp: CleanupStamp, content: str) -> None:
    Path(stamp.path).write_text(content, encoding="utf-8", errors="surrogateescape")
    snapshot = stamp.read()
    assert snapshot is not None
    assert snapshot.note is None
    assert stamp.remove(snapshot)


def test_a_huge_stamp_is_not_read_in_full(stamp: CleanupStamp) -> None:
    stamp.request()
    os.truncate(stamp.path, 1 << 40)
    snapshot = stamp.read()
    assert snapshot is not None
    assert len(snapshot.content) < 1 << 20
    assert snapshot.note is None


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "directory", "fifo"])
def test_only_a_regular_file_is_a_stamp(stamp: CleanupStamp, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".cleanup"
    if kind == "symlink":
        (tmp_path / "target").touch()
        path.symlink_to("target")
    elif kind == "dangling symlink":
        path.symlink_to("absent")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    before = listing(tmp_path)
    with pytest.raises(OSError, match=r"symbolic link|Not a regular file") as caught:
        stamp.read()
    assert caught.value.filename == stamp.path
    assert listing(tmp_path) == before


def test_a_stamp_that_was_touched_again_stays(stamp: CleanupStamp) -> None:
    Path(stamp.path).touch()
    snapshot = stamp.read()
    assert snapshot is not None
    Path(stamp.path).touch()
    assert not stamp.remove(snapshot)
    assert stamp.read() is not None


def test_a_stamp_that_was_requested_again_stays(stamp: CleanupStamp) -> None:
    stamp.request()
    snapshot = stamp.read()
    assert snapshot is not None
    second = stamp.request([CHECKSUM])
    assert not stamp.remove(snapshot)
    kept = stamp.read()
    assert kept is not None
    assert kept.note == second


def test_a_stamp_that_comes_at_the_last_moment_stays(
    stamp: CleanupStamp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's request lands between the check and the removal."""
    stamp.request()
    snapshot = stamp.read()
    assert snapshot is not None
    newer: list[StampNote] = []
    rename = os.rename

    def late(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if not newer:
            monkeypatch.undo()
            newer.append(stamp.request([CHECKSUM]))
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "rename", late)
    assert not stamp.remove(snapshot)
    kept = stamp.read()
    assert kept is not None
    assert kept.note == newer[0]
    assert listing(tmp_path) == [".cleanup"]


def test_a_stamp_that_is_gone_is_not_removed(stamp: CleanupStamp) -> None:
    stamp.request()
    snapshot = stamp.read()
    assert snapshot is not None
    Path(stamp.path).unlink()
    assert not stamp.remove(snapshot)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("stamp.request()", ["fsync", "rename", "fsync"]),
        ("stamp.remove(stamp.read())", ["rename", "unlink", "fsync"]),
    ],
)
def test_durability(stamp: CleanupStamp, tmp_path: Path, action: str, expected: list[str]) -> None:
    """The order of the system calls: a file's data first, then its name, then the directory."""
    stamp.request()
    trace = tmp_path / "trace"
    script = f"from ostree_sweep.stamp import CleanupStamp; stamp = CleanupStamp({stamp.path!r}); {action}"
    calls = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
    subprocess.run(
        ["strace", "-f", "-o", trace, "-e", f"trace={calls}", sys.executable, "-B", "-c", script], check=True
    )
    seen = re.findall(r"^\d+ +(fsync|rename|unlink)", trace.read_text(encoding="utf-8"), re.MULTILINE)
    assert seen == expected


def test_the_path_below_a_physical_root(tmp_path: Path) -> None:
    ostree("admin", f"--sysroot={tmp_path}", "init-fs", tmp_path)
    assert CleanupStamp.for_sysroot(tmp_path).path == str(tmp_path / ".cleanup")


def test_the_path_below_a_booted_root(tmp_path: Path) -> None:
    physical = tmp_path / "sysroot"
    physical.mkdir()
    ostree("admin", f"--sysroot={physical}", "init-fs", physical)
    assert CleanupStamp.for_sysroot(tmp_path).path == str(physical / ".cleanup")


@pytest.mark.needs_root
def test_the_path_below_the_root(tmp_path: Path) -> None:
    sysroot = Sysroot.create(tmp_path / "sysroot")
    script = textwrap.dedent(
        """
        import os
        from ostree_sweep.stamp import CleanupStamp
        for root in ("/", "//", "/proc/.."):
            print(os.path.normpath(CleanupStamp.for_sysroot(root).path).lstrip("/"))
        """
    )
    python = ["env", f"PYTHONPATH={PROJECT}/python", sys.executable, "-c", script]
    done = sysroot.boot(sysroot.deploy(1), *python)
    sysroot.remove()
    assert done.stdout.split() == ["sysroot/.cleanup"] * 3


def test_what_is_no_sysroot_gets_no_stamp(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "ostree").mkdir()
    for path in (tmp_path / "absent", tmp_path / "file", tmp_path):
        with pytest.raises(NotARepoError, match="no sysroot") as caught:
            CleanupStamp.for_sysroot(path)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(path))


@pytest.mark.needs_root
def test_a_read_only_sysroot_is_writable_for_the_stamp_alone(tmp_path: Path) -> None:
    """On a booted host, /sysroot stays read-only for everybody else."""
    sysroot = tmp_path / "sysroot"
    (sysroot / "ostree" / "repo").mkdir(parents=True)
    action = textwrap.dedent(
        f"""
        import os
        from ostree_sweep.stamp import CleanupStamp
        stamp = CleanupStamp.for_sysroot({str(tmp_path)!r})
        stamp.request()
        assert stamp.remove(stamp.read())
        stamp.request()
        assert os.statvfs({str(sysroot)!r}).f_flag & os.ST_RDONLY
        """
    )
    booted_host = textwrap.dedent(
        """
        mount -t tmpfs tmpfs /run && touch /run/ostree-booted
        mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
        exec "$2" -c "$3"
        """
    )
    subprocess.run(
        ["unshare", "--mount", "sh", "-e", "-c", booted_host, "sh", sysroot, sys.executable, action],
        check=True,
    )
    assert (sysroot / ".cleanup").exists()
