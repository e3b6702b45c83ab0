"""Layers of container images: only those go that no image and no deployment needs."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import auto_cleanup, cleanup, usage, why
from support.sysroots import BRANCH, COMMAND, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

pytestmark = pytest.mark.needs_root

IMAGES = "ostree/container/image"
LAYERS = "ostree/container/blob"


class Host:
    """A sysroot with images and layers as ostree-ext stores them."""

    def __init__(self, path: Path) -> None:
        self.sysroot = Sysroot.create(path)
        self.commit = self.sysroot.deploy(1)

    def layer(self, name: str, *, age_s: float = 7200) -> str:
        """Stores a layer with a file of its own; returns its digest."""
        tree = self.sysroot.path.with_name("layer")
        tree.mkdir(exist_ok=True)
        (tree / "file").write_text(name * 1000, encoding="ascii")
        digest = f"sha256:{name}"
        self.store(f"{LAYERS}/sha256_3A_{name}", tree, age_s=age_s)
        return digest

    def image(self, ref: str, layers: Iterable[str] | None, *, manifest: str | None = None) -> None:
        """Stores an image's merge commit."""
        if layers is not None:
            manifest = json.dumps({"schemaVersion": 2, "layers": [{"digest": digest} for digest in layers]})
        tree = self.sysroot.path.with_name("image")
        tree.mkdir(exist_ok=True)
        self.store(ref, tree, manifest)

    def store(self, ref: str, tree: Path, manifest: str | None = None, age_s: float = 7200) -> None:
        """Commits a tree to a ref, which is so old then."""
        metadata = [] if manifest is None else [f"--add-metadata-string=ostree.manifest={manifest}"]
        self.sysroot.ostree("commit", f"--branch={ref}", *metadata, tree)
        when = time.time() - age_s
        os.utime(self.sysroot.repo / "refs/heads" / ref, (when, when))

    def layers(self) -> set[str]:
        """The digests of the layers that are stored."""
        refs = self.sysroot.ostree("refs", "--list", LAYERS).split()
        return {ref.removeprefix(f"{LAYERS}/").replace("_3A_", ":") for ref in refs}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "sysroot")


def test_only_layers_that_nothing_needs_go(host: Host) -> None:
    by_image, by_base, by_rpm_ostree = host.layer("a1"), host.layer("b2"), host.layer("c3")
    unneeded = {host.layer("d4"), host.layer("e5")}
    host.image(f"{IMAGES}/oci_3A_x", [by_image])
    host.image("ostree/container/baseimage", [by_base])
    host.image("rpmostree/base/0", [by_rpm_ostree])
    needed = {by_image, by_base, by_rpm_ostree}
    # Not places where a host's own tool looks for images.
    host.image("ostree/container/imagefoo/x", unneeded)
    host.image("ostree/2/0/0", unneeded)
    host.image("rpmostree/pkg/x", unneeded)

    assert cleanup(host.sysroot.path).container_layers_removed == ()
    assert host.layers() == needed | unneeded

    before = host.sysroot.listing()
    told = cleanup(host.sysroot.path, container_layers=True, dry_run=True)
    assert host.sysroot.listing() == before
    done = cleanup(host.sysroot.path, container_layers=True)
    assert set(told.container_layers_removed) == set(done.container_layers_removed) == unneeded
    assert (told.objects_pruned, told.bytes_freed) == (done.objects_pruned, done.bytes_freed)
    assert done.objects_pruned >= len(unneeded)
    assert host.layers() == needed
    host.sysroot.ostree("fsck")
    assert cleanup(host.sysroot.path, container_layers=True).container_layers_removed == ()


@pytest.mark.parametrize("staged", [False, True])
def test_layers_of_a_deployment_stay_though_its_image_is_gone(host: Host, *, staged: bool) -> None:
    digest = host.layer("a1")
    sysroot = host.sysroot
    manifest = json.dumps({"layers": [{"digest": digest}]})
    metadata = f"--add-metadata-string=ostree.manifest={manifest}"
    tree = f"--tree=ref={BRANCH}"
    if staged:
        sysroot.ostree("commit", "--branch=next", metadata, tree)
        sysroot.boot(
            host.commit,
            f"ostree admin deploy --stage next; ostree refs --delete next; "
            f"{COMMAND} cleanup --container-layers",
        )
    else:
        sysroot.ostree("commit", "--branch=next", metadata, tree)
        sysroot.admin("deploy", "--os=os", "next")
        sysroot.ostree("refs", "--delete", "next")
        cleanup(sysroot.path, container_layers=True)
    assert host.layers() == {digest}


def test_a_layer_that_a_pull_may_just_have_written_stays(host: Host) -> None:
    new, old = host.layer("a1", age_s=3000), host.layer("b2", age_s=4000)
    assert cleanup(host.sysroot.path, container_layers=True).container_layers_removed == (old,)
    assert host.layers() == {new}


def test_an_image_that_cannot_be_read_does_not_keep_the_others_from_being_looked_at(host: Host) -> None:
    needed, unneeded = host.layer("a1"), host.layer("b2")
    host.image(f"{IMAGES}/oci_3A_x", [needed])
    host.image(f"{IMAGES}/oci_3A_none", None)
    host.image(f"{IMAGES}/oci_3A_bad", None, manifest="{")
    done = auto_cleanup_with_stamp(host)
    assert done == (unneeded,)
    assert host.layers() == {needed}


def test_a_ref_that_stands_for_no_layer_stays(host: Host) -> None:
    tree = host.sysroot.path.with_name("image")
    tree.mkdir()
    host.store(f"{LAYERS}/_zz_", tree)
    assert cleanup(host.sysroot.path, container_layers=True).container_layers_removed == ()
    assert host.layers() == {"_zz_"}


def test_the_command_names_what_it_drops(host: Host) -> None:
    digest = host.layer("a1")
    words = (COMMAND, "cleanup", f"--sysroot={host.sysroot.path}", "--container-layers")
    assert f"Would remove container layer: {digest}\n" in output(*words, "--dry-run")
    assert json.loads(output(*words, "--json"))["container_layers_removed"] == [digest]


def auto_cleanup_with_stamp(host: Host) -> tuple[str, ...]:
    output(COMMAND, "stamp", f"--sysroot={host.sysroot.path}")
    return auto_cleanup(host.sysroot.path, container_layers=True, impact="full").container_layers_removed


def test_du_and_status_know_images_and_their_layers(host: Host) -> None:
    sysroot = host.sysroot
    old, new, gone = host.layer("a1"), host.layer("b2"), host.layer("c3")
    host.image(f"{IMAGES}/docker_3A__2F__2F_quay_2E_io/a__b_3A_1", [old, new])
    host.image(f"{IMAGES}/oci_3A_x", [new])
    host.image(f"{IMAGES}/oci_3A_bad", None)
    found = {
        holder.name: holder for holder in usage(sysroot=sysroot.path).holders if holder.kind != "deployment"
    }
    assert {(holder.kind, name) for name, holder in found.items() if holder.kind != "ref"} == {
        ("image", "docker://quay.io/a_b:1"),
        ("image", "oci:x"),
        ("image", "oci:bad"),
        ("unneeded-layers", "layers that no image needs"),
    }
    assert not any("blob" in name or name.startswith("sha256:") for name in found)
    image, layers = found["docker://quay.io/a_b:1"], found["layers that no image needs"]
    assert [ref.rpartition("/")[2] for ref in image.refs[1:]] == ["sha256_3A_a1", "sha256_3A_b2"]
    # The other image's layer is shared: its commit, directory and file.
    assert image.shared.objects >= 3
    assert layers.exclusive.objects >= 3

    status = json.loads(output(COMMAND, "status", f"--sysroot={sysroot.path}", "--json"))
    assert status["unneeded_layers"] == {
        "layers": 1,
        "objects": layers.exclusive.objects,
        "bytes": layers.exclusive.bytes,
        "disk_bytes": layers.exclusive.disk_bytes,
    }
    assert status["unreadable_images"] == [[f"{IMAGES}/oci_3A_bad", "its commit has no manifest"]]
    text = output(COMMAND, "status", f"--sysroot={sysroot.path}")
    assert "run 'ostree-sweep cleanup --container-layers'" in text
    assert f"{IMAGES}/oci_3A_bad (its commit has no manifest)" in text

    without = cleanup(sysroot.path)
    assert without.objects_pruned == 0
    done = cleanup(sysroot.path, container_layers=True)
    assert done.container_layers_removed == (gone,)
    assert (done.objects_pruned, done.bytes_freed) == (layers.exclusive.objects, layers.exclusive.bytes)


def test_why_takes_the_names_that_people_know(host: Host) -> None:
    digest = host.layer("a1")
    host.image(f"{IMAGES}/docker_3A__2F__2F_quay_2E_io/a__b_3A_1", [digest])
    names = ("docker://quay.io/a_b:1", f"{IMAGES}/docker_3A__2F__2F_quay_2E_io/a__b_3A_1")
    first, second = (why(name, sysroot=host.sysroot.path) for name in names)
    assert first == second
    assert [way.name for way in first.kept_by] == [names[0]]
    assert why(f"{names[0]}:/", sysroot=host.sysroot.path).object.endswith(".dirtree")
    host.sysroot.ostree("refs", "--create=org.example.C:os/x", "--collections", BRANCH)
    commit = host.sysroot.ostree("rev-parse", BRANCH).strip()
    for name in ("org.example.C:os/x", "(org.example.C, os/x)"):
        assert why(name, sysroot=host.sysroot.path).object == f"{commit}.commit"


def test_what_flatpak_has_deployed_counts_with_its_remotes_ref(host: Host) -> None:
    tree = host.sysroot.path.with_name("app")
    tree.mkdir()
    (tree / "file").write_text("app", encoding="ascii")
    host.sysroot.ostree("remote", "add", "--no-gpg-verify", "hub", "https://example.com")
    commit = host.sysroot.ostree("commit", "--branch=hub:app/x/x86_64/stable", tree).strip()
    host.sysroot.ostree("refs", "--create=deploy/app/x/x86_64/stable", commit)
    holders = usage(host.sysroot.repo).holders
    (app,) = [holder for holder in holders if "app/x" in holder.name]
    assert app.refs == ("hub:app/x/x86_64/stable", "deploy/app/x/x86_64/stable")
    assert app.exclusive.objects >= 3
