"""A ref whose commit is missing does not stop the cleanup of a sysroot; what a deployment needs does."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from ostree_sweep import CorruptRepoError, DanglingRef
from support.checkouts import attempt
from support.sysroots import BRANCH, COMMAND, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root

GONE = f"{1:064}"
NAMES = ["remotes/vendor/os/old", "heads/ostree/container/image/x", "mirrors/org.x/os"]


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot with two deployments, a stamp, garbage, and a ref whose commit is missing."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    sysroot.deploy(2, "--retain")
    sysroot.commit(9, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    sysroot.stamp.touch()
    dangle(sysroot, "remotes/vendor/os/old")
    yield sysroot
    subprocess.run(["chattr", "-R", "-f", "-i", tmp_path], check=False, capture_output=True)


def dangle(sysroot: Sysroot, name: str, commit: str = GONE) -> None:
    path = sysroot.repo / "refs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{commit}\n", encoding="ascii")


def json_of(sysroot: Sysroot, *words: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(output(COMMAND, *words, "--json", f"--sysroot={sysroot.path}"))
    return data


@pytest.mark.parametrize("name", NAMES)
def test_a_cleanup_goes_on_and_names_the_ref(sysroot: Sysroot, name: str) -> None:
    dangle(sysroot, name)
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    reference.admin("cleanup")
    told, status = json_of(sysroot, "cleanup", "--dry-run"), json_of(sysroot, "status")
    text = output(COMMAND, "status", f"--sysroot={sysroot.path}")
    done = attempt(sysroot)
    assert done.returncode == 0
    assert GONE in done.stderr
    assert "ostree refs --delete vendor:os/old" in done.stderr
    assert sysroot.state() == reference.state()
    assert not sysroot.stamp.exists()
    assert {"name": "vendor:os/old", "commit": GONE} in told["dangling_refs"]
    assert told["dangling_refs"] == status["dangling_refs"]
    assert told["objects_pruned"] == status["reclaimable"]["objects"] > 0
    assert f"Dangling ref:    vendor:os/old (its commit {GONE} is missing)" in text


def test_a_plan_of_a_sysroot_covers_all_beside_such_a_ref(sysroot: Sysroot) -> None:
    output(COMMAND, "plan", f"--sysroot={sysroot.path}")
    done = json_of(sysroot, "cleanup", "--auto")
    assert done["by_plan"]
    assert done["plan_refused"] is None
    assert done["objects_pruned"] > 0


def test_a_commit_that_is_there_again_is_kept(sysroot: Sysroot) -> None:
    commit = sysroot.ostree("commit", "--branch=late", f"--tree=ref={BRANCH}").strip()
    dangle(sysroot, "remotes/vendor/os/old", commit)
    assert attempt(sysroot).returncode == 0
    assert f"{commit}.commit" in sysroot.objects()
    sysroot.ostree("fsck")


@pytest.mark.parametrize("ref", [False, True], ids=["deployment", "deployment and ref"])
def test_a_missing_commit_of_a_deployment_stops_the_cleanup(sysroot: Sysroot, ref: bool) -> None:
    deployed = sysroot.ostree("rev-parse", f"{BRANCH}^").strip()
    commit = sysroot.repo / "objects" / deployed[:2] / f"{deployed[2:]}.commit"
    commit.unlink()
    if ref:
        dangle(sysroot, "remotes/vendor/os/older", deployed)
    before = sysroot.objects()
    done = attempt(sysroot)
    assert done.returncode == 1
    assert deployed in done.stderr
    assert sysroot.objects() == before
    assert sysroot.stamp.exists()


def test_a_prune_of_a_repository_stops_and_names_the_ways_out(sysroot: Sysroot) -> None:
    before = sysroot.objects()
    command = [str(COMMAND), "prune", "--refs-only", f"--repo={sysroot.repo}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{GONE}.commit, which is missing" in done.stderr
    assert "pull that commit, or delete the ref with 'ostree refs --delete vendor:os/old'" in done.stderr
    with pytest.raises(CorruptRepoError):
        ostree_sweep.prune(sysroot.repo, refs_only=True)
    assert sysroot.objects() == before


def test_a_prune_that_is_told_to_goes_on(sysroot: Sysroot) -> None:
    report = ostree_sweep.prune(sysroot.repo, refs_only=True, ignore_missing_commits=True, dry_run=True)
    assert report.dangling_refs == (DanglingRef("vendor:os/old", GONE),)
    command = [str(COMMAND), "prune", "--refs-only", "--ignore-missing-commits", f"--repo={sysroot.repo}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning: vendor:os/old: its commit" in done.stderr
    assert f"Deleted {report.objects_pruned} objects" in done.stdout
    sysroot.ostree("refs", "--delete", "vendor:os/old")
    sysroot.ostree("fsck")
