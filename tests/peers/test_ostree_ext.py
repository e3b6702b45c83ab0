"""Beside ostree-ext, which bootc and rpm-ostree build on: real images, pulled, deployed, updated, removed."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import cleanup
from support.sysroots import PROJECT, Sysroot, make_tree, output

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs_root

OSTREE_EXT = PROJECT / "target/peers/debug/ostree-ext-command"
LAYERS = "ostree/container/blob"


class Host:
    """A sysroot that is updated by container images, each of them under one name."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.image = place / "image"
        self.sysroot = Sysroot.create(place / "sysroot")

    @property
    def reference(self) -> str:
        """The image, as ostree-ext's commands take it."""
        return f"ostree-unverified-image:oci:{self.image}"

    def publish(self, version: int) -> None:
        """Puts a version of the system into the image's place."""
        tree, repo = self.place / "tree", self.place / "build"
        make_tree(tree, version, "os", directories=5)
        output("ostree", "init", "--mode=archive", f"--repo={repo}")
        output("ostree", f"--repo={repo}", "commit", "--branch=os", tree)
        shutil.rmtree(tree)
        shutil.rmtree(self.image, ignore_errors=True)
        ostree_ext(
            "container",
            "encapsulate",
            "--label=ostree.bootable=true",
            f"--repo={repo}",
            "os",
            f"oci:{self.image}",
        )
        shutil.rmtree(repo)

    def deploy(self, version: int) -> None:
        """Updates the host to a version."""
        self.publish(version)
        target = ("--sysroot", self.sysroot.path, "--stateroot", "os")
        ostree_ext("container", "image", "deploy", *target, "--imgref", self.reference)

    def age(self) -> None:
        """Has all layers stored hours ago."""
        when = time.time() - 7200
        for ref in (self.sysroot.repo / "refs/heads" / LAYERS).iterdir():
            os.utime(ref, (when, when))

    def layers(self) -> set[str]:
        """The refs of the layers that are stored."""
        return set(self.sysroot.ostree("refs", "--list", LAYERS).split())


def ostree_ext(*arguments: object) -> str:
    return output(OSTREE_EXT, *arguments)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    for version in (1, 2, 3):
        host.deploy(version)
    host.age()
    return host


def test_the_same_is_left_as_by_the_hosts_own_full_prune(host: Host, tmp_path: Path) -> None:
    reference = host.sysroot.copy(tmp_path / "reference")
    assert len(host.layers()) == 3
    without = cleanup(host.sysroot.path)
    told = cleanup(host.sysroot.path, container_layers=True, dry_run=True)
    done = cleanup(host.sysroot.path, container_layers=True)

    ostree_ext("container", "image", "prune-images", "--sysroot", reference.path, "--full")
    assert host.sysroot.state() == reference.state()
    assert told.container_layers_removed == done.container_layers_removed != ()
    assert told.objects_pruned == done.objects_pruned > without.objects_pruned
    host.sysroot.ostree("fsck")
    assert f"oci:{host.image}" in ostree_ext("container", "image", "list", "--repo", host.sysroot.repo)
    ostree_ext("container", "image", "history", "--repo", host.sysroot.repo, f"oci:{host.image}")
    # What is left is enough to go on from.
    host.deploy(4)
    host.sysroot.ostree("fsck")


def test_an_image_that_was_removed_takes_its_layers_with_it(host: Host) -> None:
    host.publish(9)
    # A pull collects what nobody needs at its end, by itself.
    ostree_ext("container", "image", "pull", host.sysroot.repo, host.reference)
    host.age()
    with_image = host.layers()
    assert cleanup(host.sysroot.path, container_layers=True).container_layers_removed == ()

    name = f"oci:{host.image}"
    ostree_ext("container", "image", "remove", "--repo", host.sysroot.repo, "--skip-gc", name)
    assert host.layers() == with_image
    (removed,) = cleanup(host.sysroot.path, container_layers=True).container_layers_removed
    left = host.layers()
    assert len(left) == len(with_image) - 1
    # The deployments' own stay, for the host's own tool as well.
    ostree_ext("container", "image", "prune-layers", "--repo", host.sysroot.repo)
    assert host.layers() == left
    assert removed.startswith("sha256:")


def test_pulls_and_cleanups_at_the_same_time(host: Host) -> None:
    done = threading.Event()
    failures = []

    def pull() -> None:
        try:
            for version in range(10, 20):
                host.publish(version)
                ostree_ext("container", "image", "pull", host.sysroot.repo, host.reference)
        except (AssertionError, subprocess.SubprocessError) as error:
            failures.append(error)
        finally:
            done.set()

    puller = threading.Thread(target=pull)
    puller.start()
    cleanups = 0
    while not done.is_set():
        cleanup(host.sysroot.path, container_layers=True, impact="full")
        cleanups += 1
    puller.join()
    assert not failures
    assert cleanups > 1
    host.sysroot.ostree("fsck")
    ostree_ext("container", "image", "history", "--repo", host.sysroot.repo, f"oci:{host.image}")
