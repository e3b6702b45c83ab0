"""What is in the way of a cleanup stays, and keeps nothing else; dry run and status name it beforehand."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.checkouts import attempt, bound
from support.sysroots import BRANCH, COMMAND, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_root


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where sysroots may be made. They are removed, and no mount may be left."""
    yield tmp_path
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    subprocess.run(["chattr", "-R", "-f", "-i", tmp_path], check=False, capture_output=True)


@pytest.fixture
def sysroot(place: Path) -> Sysroot:
    """A sysroot with two deployments and a stamp."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    sysroot.deploy(2, "--retain")
    sysroot.stamp.touch()
    return sysroot


@pytest.fixture
def dropped(sysroot: Sysroot) -> Path:
    """The checkout of a deployment off the list, of which nothing is gone yet: a cleanup has failed."""
    older = sysroot.ostree("rev-parse", f"{BRANCH}^").strip()
    stray = sysroot.path / "ostree" / "deploy" / "os" / "deploy" / "stray"
    checkout = sysroot.deployment(older)
    stray.mkdir()
    command = ["ostree", "admin", f"--sysroot={sysroot.path}", "undeploy", "1"]
    failed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert failed.returncode == 1
    stray.rmdir()
    assert checkout.exists()
    assert len(list((sysroot.path / "boot" / "ostree").iterdir())) == 2
    return checkout


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(done.stdout)
    report: dict[str, Any] = data.get("report", data)
    return report


def status_of(sysroot: Sysroot) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(output(COMMAND, "status", "--json", f"--sysroot={sysroot.path}"))
    return data


def relative(path: Path, sysroot: Sysroot) -> str:
    return str(path.relative_to(sysroot.path))


def assert_told_beforehand(told: dict[str, Any], done: dict[str, Any]) -> None:
    """Fails if the dry run's report differs from that of the run."""
    for name in ("deployments_removed", "failures", "objects_pruned", "bytes_freed"):
        assert told[name] == done[name], name
    assert done["objects_pruned"] > 0


@pytest.mark.parametrize("where", ["var", "usr/share/3", "backing", ""])
def test_a_mount_below_a_leftover_keeps_nothing_but_what_it_is_in(
    sysroot: Sysroot, dropped: Path, where: str
) -> None:
    """All else is as `ostree` leaves it where nothing is mounted."""
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    reference.admin("cleanup")
    precious = sysroot.path.with_name("precious")
    precious.mkdir()
    (precious / "kept").touch()
    point = dropped / where
    if where == "backing":
        point = dropped.parents[1] / "backing" / dropped.name / "root-transient"
        # Libostree makes it since 2024.1.
        point.mkdir(parents=True, exist_ok=True)
    with bound(precious, point):
        status = status_of(sysroot)
        told = attempt(sysroot, "--dry-run", "--json")
        done = attempt(sysroot, "--json")
        assert (told.returncode, done.returncode) == (3, 3)
        assert (precious / "kept").exists()
        assert_told_beforehand(report_of(told), report_of(done))
        assert sysroot.stamp.exists()
        left = sysroot.state()
        assert (left.objects, left.refs, left.boot) == (
            reference.state().objects,
            reference.state().refs,
            reference.state().boot,
        )
        for found in (status["obstacles"], report_of(done)["failures"], status_of(sysroot)["obstacles"]):
            assert [(each["path"], each["error"]) for each in found] == [
                (relative(point, sysroot), "it is a mount point")
            ]
        assert relative(dropped, sysroot) not in status["leftovers"]
        assert any(path.startswith("boot/ostree/os-") for path in status["leftovers"])
        assert status["reclaimable"]["objects"] == report_of(done)["objects_pruned"]
    assert attempt(sysroot).returncode == 0
    assert not sysroot.stamp.exists()
    assert sysroot.state().deployments == reference.state().deployments
    sysroot.ostree("fsck")


def test_a_mount_on_a_kernel_keeps_that_kernel_alone(sysroot: Sysroot, dropped: Path) -> None:
    (entry,) = (sysroot.path / "boot" / "loader" / "entries").iterdir()
    (kernel,) = (
        path
        for path in (sysroot.path / "boot" / "ostree").iterdir()
        if path.name not in entry.read_text(encoding="utf-8")
    )
    precious = sysroot.path.with_name("precious")
    precious.mkdir()
    (precious / "kept").touch()
    with bound(precious, kernel):
        told, done = attempt(sysroot, "--dry-run", "--json"), attempt(sysroot, "--json")
        assert (told.returncode, done.returncode) == (3, 3)
        assert_told_beforehand(report_of(told), report_of(done))
        (failure,) = report_of(done)["failures"]
        assert failure["path"] == relative(kernel, sysroot)
        assert (precious / "kept").exists()
        assert not dropped.exists()
    assert attempt(sysroot).returncode == 0
    assert not kernel.exists()


def test_without_an_obstacle_all_goes_as_with_ostree(sysroot: Sysroot, dropped: Path) -> None:
    (sysroot.path / "boot" / "ostree" / "no-kernel").mkdir()
    overlays = sysroot.path / "boot" / "ostree" / "initramfs-overlays"
    overlays.mkdir()
    (overlays / f"{'a' * 64}.img").touch()
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    reference.admin("cleanup")
    leftovers = status_of(sysroot)["leftovers"]
    assert relative(dropped, sysroot) in leftovers
    before = {path: (sysroot.path / path) for path in leftovers}
    assert all(path.is_symlink() or path.exists() for path in before.values())
    assert attempt(sysroot).returncode == 0
    assert sysroot.state() == reference.state()
    assert not any(path.is_symlink() or path.exists() for path in before.values())
    assert status_of(sysroot)["leftovers"] == []


@pytest.mark.parametrize("name", ["20240101.2", "0.0", "abc.7"])
def test_whatever_libostree_takes_for_a_checkout_is_one(sysroot: Sysroot, name: str) -> None:
    """Announced, removed, and no way to what is mounted below."""
    checkout = sysroot.path / "ostree" / "deploy" / "os" / "deploy" / name
    (checkout / "mnt").mkdir(parents=True)
    (checkout / "file").touch()
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    reference.admin("cleanup")
    assert not (reference.path / checkout.relative_to(sysroot.path)).exists()
    precious = sysroot.path.with_name("precious")
    precious.mkdir()
    (precious / "kept").touch()
    with bound(precious, checkout / "mnt"):
        for options in (("--dry-run",), ()):
            done = attempt(sysroot, "--json", *options)
            assert done.returncode == 3
            assert [each["path"] for each in report_of(done)["failures"]] == [
                relative(checkout / "mnt", sysroot)
            ]
        assert (precious / "kept").exists()
    told, done = attempt(sysroot, "--dry-run"), attempt(sysroot)
    assert f"Would remove deployment: os/{name}\n" in told.stdout
    assert f"Removed deployment: os/{name}\n" in done.stdout
    assert not checkout.exists()
    assert not sysroot.stamp.exists()


STRAYS = ["foo", "lost+found", f"{'0' * 64}.0.backup", "0.01", "0.2147483648", "ABC.0", "0.1\n", b"\xff.0"]


@pytest.mark.parametrize("name", STRAYS, ids=ascii)
def test_a_stray_directory_stays_is_named_and_keeps_nothing_else(
    sysroot: Sysroot, dropped: Path, name: str | bytes
) -> None:
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    reference.admin("cleanup")
    text = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
    stray = dropped.with_name(text)
    stray.mkdir()
    (stray / "kept").touch()
    status = status_of(sysroot)
    told, done = attempt(sysroot, "--dry-run", "--json"), attempt(sysroot, "--json")
    assert (told.returncode, done.returncode) == (0, 0)
    assert_told_beforehand(report_of(told), report_of(done))
    # It is not ours to remove, so nothing is left to do, and no later boot tries again.
    assert report_of(told)["stamp_removed"]
    assert not sysroot.stamp.exists()
    (name_in_status,) = status["strays"]
    for report in (report_of(told), report_of(done)):
        (warning,) = report["warnings"]
        assert warning.startswith(f"{name_in_status}: ")
        assert "HEX.NUMBER" in warning
    assert (stray / "kept").exists()
    assert not dropped.exists()
    shutil.rmtree(stray)
    assert sysroot.state() == reference.state()


# What may be missing where /boot is not mounted, or only in part.
MISSING = ["boot", "boot/loader.*", "boot/loader/entries", "boot/loader/entries/*", "one entry"]


@pytest.mark.parametrize("what", MISSING)
def test_where_boot_is_not_mounted_nothing_is_removed(sysroot: Sysroot, what: str) -> None:
    if what == "one entry":
        next((sysroot.path / "boot" / "loader" / "entries").iterdir()).unlink()
    else:
        output("sh", "-c", f"cd {sysroot.path} && rm -r {what} && mkdir -p boot")
    before = sysroot.listing()
    commands = [("cleanup",), ("cleanup", "--auto"), ("cleanup", "--dry-run"), ("plan",)]
    for words in commands:
        done = subprocess.run(
            [COMMAND, *words, f"--sysroot={sysroot.path}"], check=False, capture_output=True, text=True
        )
        assert done.returncode == 1, words
        assert "/boot is probably not mounted" in done.stderr
    status = status_of(sysroot)
    assert sysroot.listing() == before
    assert status["leftovers"] == []
    assert "/boot is probably not mounted" in status["reclaimable"]["error"]


@pytest.mark.parametrize("failed", [False, True], ids=["undeployed", "undeployed, cleanup failed"])
def test_after_the_last_undeployment_all_goes(sysroot: Sysroot, failed: bool) -> None:
    stray = sysroot.path / "ostree" / "deploy" / "os" / "deploy" / "stray"
    sysroot.admin("undeploy", "1")
    if failed:
        stray.mkdir()
        command = ["ostree", "admin", f"--sysroot={sysroot.path}", "undeploy", "0"]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 1
        stray.rmdir()
        assert len(sysroot.state().deployments) == 1
    else:
        sysroot.admin("undeploy", "0")
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    reference.admin("cleanup")
    assert attempt(sysroot).returncode == 0
    assert sysroot.state() == reference.state()
    assert not sysroot.state().deployments
