"""Beside ostree-ext, which bootc and rpm-ostree build on: real images, pulled, deployed, updated, removed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import cleanup
from support.crash import LONG
from support.kill import kill_amid
from support.sysroots import PROJECT, Sysroot, make_tree, output

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.needs_root

OSTREE_EXT = PROJECT / "target/peers/debug/ostree-ext-command"
LAYERS = "ostree/container/blob"

# Pulls beside as many cleanups.
ROUNDS = 30 if LONG else 6


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

    def publish(self, version: int, extra: int = 0) -> None:
        """Puts a version of the system into the image's place, with a file of so many bytes more."""
        tree, repo = self.place / "tree", self.place / "build"
        make_tree(tree, version, "os", directories=5)
        (tree / "usr" / "extra").write_bytes(os.urandom(extra))
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

    def derive(self, image: Path, text: str) -> None:
        """Makes an image that is built on the one published last: with a layer of one file more."""
        shutil.copytree(self.image, image)
        add_layer(image, "usr/share/derived", text.encode())

    def pull(self, image: Path) -> None:
        """Stores an image under its name, and the layers that it needs."""
        reference = f"ostree-unverified-image:oci:{image}"
        ostree_ext("container", "image", "pull", self.sysroot.repo, reference)

    def assert_sound(self, *images: Path) -> None:
        """All is there that the images need, and the host's own tool can go on with it."""
        self.sysroot.ostree("fsck")
        listed = ostree_ext("container", "image", "list", "--repo", self.sysroot.repo)
        for image in images:
            assert f"oci:{image}\n" in listed
            ostree_ext("container", "image", "history", "--repo", self.sysroot.repo, f"oci:{image}")

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


def add_layer(image: Path, name: str, content: bytes) -> None:
    """Adds a layer with one file to an image in an OCI directory."""

    def load(descriptor: dict[str, Any]) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((blobs / descriptor["digest"][7:]).read_bytes())
        return data

    def store(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    blobs, index_file = image / "blobs" / "sha256", image / "index.json"
    index = json.loads(index_file.read_bytes())
    manifest = load(index["manifests"][0])
    config = load(manifest["config"])
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        tar.addfile(member, io.BytesIO(content))
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(archive.getvalue()).hexdigest()}")
    config.setdefault("history", []).append({"created_by": "COPY"})
    layer = store(gzip.compress(archive.getvalue()))
    manifest["layers"].append({**layer, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"})
    manifest["config"].update(store(json.dumps(config).encode()))
    index["manifests"][0].update(store(json.dumps(manifest).encode()))
    index_file.write_text(json.dumps(index), encoding="ascii")


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
    host.assert_sound(host.image)
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


@pytest.mark.parametrize("removed", ["neither", "base", "derived"])
def test_of_derived_images_the_same_is_left_as_by_the_hosts_own_prune(tmp_path: Path, removed: str) -> None:
    """They share the layers of the image that they are built on."""
    host = Host(tmp_path)
    host.publish(1)
    derived = tmp_path / "derived"
    host.derive(derived, "first")
    images = {"base": host.image, "derived": derived}
    for image in images.values():
        host.pull(image)
    host.age()
    both = host.layers()
    assert len(both) == 2
    if removed != "neither":
        name = f"oci:{images.pop(removed)}"
        ostree_ext("container", "image", "remove", "--repo", host.sysroot.repo, "--skip-gc", name)
    reference = host.sysroot.copy(tmp_path / "reference")
    ostree_ext("container", "image", "prune-layers", "--repo", reference.repo)
    reference.admin("cleanup")

    told = cleanup(host.sysroot.path, container_layers=True, dry_run=True)
    done = cleanup(host.sysroot.path, container_layers=True)
    assert host.sysroot.state() == reference.state()
    assert told.container_layers_removed == done.container_layers_removed
    assert len(both) - len(host.layers()) == (1 if removed == "derived" else 0)
    host.assert_sound(*images.values())
    # Another one on the same base.
    again = tmp_path / "again"
    host.derive(again, "second")
    host.pull(again)
    host.assert_sound(*images.values(), again)


def test_a_pull_that_was_killed_is_cleaned_up_and_begun_anew(host: Host) -> None:
    """In the same boot, and in another."""
    tmp = host.sysroot.repo / "tmp"
    for version in (10, 11):
        host.publish(version)
        reference = f"ostree-unverified-image:oci:{host.image}"
        kill_amid(tmp, OSTREE_EXT, "container", "image", "pull", host.sysroot.repo, reference)
        if version == 11:
            for left in sorted(tmp.glob("staging-*")):
                left.rename(left.with_name(left.name.replace(left.name[8:16], "00000000", 1)))
        told = cleanup(host.sysroot.path, container_layers=True, dry_run=True)
        done = cleanup(host.sysroot.path, container_layers=True)
        assert told.tmp_pruned == done.tmp_pruned == (1 if version == 11 else 0)
        assert done.failures == ()
        host.sysroot.ostree("fsck")
    assert not any(tmp.glob("staging-0*"))
    host.pull(host.image)
    host.assert_sound(host.image)


def test_pulls_beside_as_many_cleanups(host: Host) -> None:
    done = threading.Event()
    failures = []

    def pull() -> None:
        try:
            for version in range(10, 10 + ROUNDS):
                host.publish(version)
                host.pull(host.image)
        except (AssertionError, subprocess.SubprocessError) as error:
            failures.append(error)
        finally:
            done.set()

    puller = threading.Thread(target=pull)
    puller.start()
    cleanups = 0
    while not done.is_set() or cleanups < ROUNDS:
        cleanup(host.sysroot.path, container_layers=True, impact="full")
        cleanups += 1
    puller.join()
    assert not failures
    host.assert_sound(host.image)
