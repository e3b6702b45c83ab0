"""What must hold for whatever bytes a policy, a stamp or an origin holds.

The fuzz targets, `fuzz.py`, call these with what the fuzzer makes up, the tests with the corpus.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from ostree_sweep import OstreeSweepError, Policy, cleanup, core, prune
from ostree_sweep.stamp import CleanupStamp
from support.samples import ostree
from support.sysroots import Sysroot

BRANCHES = ("os/stable", "os/devel", "app/x86_64/stable")


def policy(data: bytes) -> None:
    """A policy is refused, or keeps the newest commit of each ref."""
    path = _place() / "policy.toml"
    path.write_bytes(data)
    try:
        report = prune(_repo(), policy=Policy.load(path), dry_run=True)
    except (ValueError, OstreeSweepError) as error:
        _check_text(error)
        return
    assert report.objects_pruned == 0


def stamp(data: bytes) -> None:
    """A stamp is one whatever it holds, prints nothing that a terminal acts on, and is removed."""
    stamp = CleanupStamp(_place() / ".cleanup")
    Path(stamp.path).write_bytes(data)
    found = stamp.read()
    assert found is not None
    if (note := found.note) is not None:
        assert all(text.isascii() for text in (note.boot_id or "", note.time, *note.deployed))
        assert all(text.isprintable() for text in (note.boot_id or "", note.time, *note.deployed))
    assert stamp.remove(found)
    assert stamp.read() is None


def origin(data: bytes) -> None:
    """A deployment's origin is read or refused, and the deployment stays."""
    sysroot, commit, path = _sysroot()
    path.write_bytes(data)
    try:
        (deployment,) = core.status(sysroot)["deployments"]
        report = cleanup(sysroot, dry_run=True)
    except OstreeSweepError as error:
        _check_text(error)
        return
    assert deployment["checksum"] == commit
    assert report.objects_pruned == 0


TARGETS = {"policy": policy, "stamp": stamp, "origin": origin}


def _check_text(error: Exception) -> None:
    assert "internal error" not in str(error)


@cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


@cache
def _repo() -> Path:
    repo, tree = _place() / "repo", _place() / "tree"
    tree.mkdir()
    ostree("init", "--mode=archive", f"--repo={repo}")
    for branch in BRANCHES:
        (tree / "file").write_text(branch, encoding="ascii")
        ostree("commit", f"--repo={repo}", f"--branch={branch}", tree)
    return repo


@cache
def _sysroot() -> tuple[Path, str, Path]:
    """A sysroot, the commit of its one deployment, and that one's origin. Making it needs root."""
    sysroot = Sysroot.create(_place() / "sysroot", directories=1)
    atexit.register(sysroot.remove)
    commit = sysroot.deploy(1)
    deployment = sysroot.deployment(commit)
    return sysroot.path, commit, deployment.with_name(f"{deployment.name}.origin")
