"""The units for systemd, as systemd's own tools see them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ostree_sweep import OstreeSweepError, units
from support.crash import worn_repo
from support.sysroots import BRANCH, COMMAND, Sysroot

NAMES = (
    "ostree-sweep-cleanup.service",
    "ostree-sweep-cleanup.timer",
    "ostree-sweep-finalized.service",
    "ostree-sweep-prepare.service",
)
SERVICES = [name for name in NAMES if name.endswith(".service")]
# What `systemd-analyze security` gives them, times ten; docs/systemd.md says what it counts.
EXPOSURE = {
    "ostree-sweep-cleanup.service": 16,
    "ostree-sweep-finalized.service": 17,
    "ostree-sweep-prepare.service": 12,
}
# systemd's own targets and services that ours name.
SYSTEM_UNITS = Path("/usr/lib/systemd/system")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system in which the command is installed in /usr/local."""
    binaries = tmp_path / "usr/local/bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/true", binaries / "ostree-sweep")
    return tmp_path


def systemd(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=60)


def test_the_units_run_the_installed_command(root: Path) -> None:
    done = systemd(COMMAND, "install-units", f"--root={root}", "--prefix=/usr/local")
    assert done.returncode == 0, done.stderr

    written = {str(Path(line).relative_to(root / "usr/local/lib/systemd")) for line in done.stdout.split()}
    assert written == {"system-preset/90-ostree-sweep.preset", *(f"system/{name}" for name in NAMES)}
    for line in done.stdout.split():
        for setting in Path(line).read_text(encoding="ascii").splitlines():
            if setting.startswith("Exec"):
                assert setting.split("=", 1)[1].startswith("/usr/local/bin/ostree-sweep ")
            assert "@command@" not in setting


def test_units_that_would_run_nothing_are_not_written(root: Path) -> None:
    with pytest.raises(OstreeSweepError, match="usr/bin/ostree-sweep"):
        units.install(root)
    with pytest.raises(ValueError, match="absolute"):
        units.install(root, "usr/local")
    assert not list(root.rglob("systemd"))


def test_units_are_replaced_as_a_whole_whatever_the_umask(root: Path) -> None:
    system = root / "usr/local/lib/systemd/system"
    system.mkdir(parents=True)
    outside = root.with_name(f"{root.name}-outside")
    outside.write_text("precious")
    (system / NAMES[0]).symlink_to(outside)
    previous = os.umask(0)
    try:
        written = units.install(root, "/usr/local")
    finally:
        os.umask(previous)
    assert outside.read_text() == "precious"
    assert {Path(path).lstat().st_mode for path in written} == {stat.S_IFREG | 0o644}
    assert sorted(path.name for path in system.iterdir()) == sorted(NAMES)
    assert stat.S_IMODE((root / "usr/local/lib/systemd/system-preset").stat().st_mode) == 0o755


def test_links_do_not_lead_out_of_the_root(root: Path) -> None:
    """An absolute one begins at that root, as it does in the system that boots from it."""
    outside = root.with_name(f"{root.name}-outside")
    outside.mkdir()
    (root / "usr/local/lib").symlink_to(f"{'../' * 30}{outside}")
    units.install(root, "/usr/local")
    assert list(outside.iterdir()) == []
    assert len(list(root.joinpath(*outside.parts[1:]).rglob("*.service"))) == 3
    with pytest.raises(ValueError, match=r"without '\.\.'"):
        units.install(root, "/usr/local/../local")


@pytest.mark.parametrize("prefix", ["/opt/my tools", "/opt/50%off", "/opt/grün"])
def test_the_prefix_is_quoted_as_systemd_reads_it(tmp_path: Path, prefix: str) -> None:
    binaries = tmp_path / prefix.lstrip("/") / "bin"
    binaries.mkdir(parents=True)
    shutil.copy("/bin/true", binaries / "ostree-sweep")
    written = units.install(tmp_path, prefix)
    shutil.copytree(SYSTEM_UNITS, tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "bin").mkdir()
    for path in written:
        shutil.copy(path, tmp_path / "usr/lib/systemd/system")
    done = systemd("systemd-analyze", "verify", f"--root={tmp_path}", "--man=no", *SERVICES)
    assert [line for line in done.stderr.splitlines() if "ostree-sweep" in line] == []


@pytest.mark.parametrize("prefix", ["/opt/a\nb", "/opt/a$b", "/opt/\udcff", '/opt/a"b', "/opt/a\\b"])
def test_a_prefix_that_no_unit_can_name_is_refused(root: Path, prefix: str) -> None:
    with pytest.raises(ValueError, match="--prefix"):
        units.install(root, prefix)


def test_nothing_is_turned_on_until_somebody_says_so(root: Path) -> None:
    units.install(root, "/usr/local")

    def states() -> list[str]:
        assert systemd("systemctl", f"--root={root}", "preset", *NAMES).returncode == 0
        return systemd("systemctl", f"--root={root}", "is-enabled", *NAMES).stdout.split()

    assert states() == ["disabled"] * 4
    distributor = root / "usr/lib/systemd/system-preset/50-distributor.preset"
    distributor.parent.mkdir(parents=True)
    distributor.write_text("".join(f"enable {name}\n" for name in SERVICES))
    assert states() == ["enabled", "disabled", "enabled", "enabled"]
    wanted = {
        str(path.relative_to(root / "etc/systemd/system")) for path in root.glob("etc/systemd/system/*/*")
    }
    assert wanted == {
        "multi-user.target.wants/ostree-sweep-cleanup.service",
        "multi-user.target.wants/ostree-sweep-prepare.service",
        "ostree-finalize-staged.service.wants/ostree-sweep-finalized.service",
    }


def test_systemd_finds_no_fault(root: Path) -> None:
    units.install(root, "/usr/local")
    shutil.copytree(SYSTEM_UNITS, root / "usr/lib/systemd/system", symlinks=True)
    (root / "bin").mkdir()
    done = systemd("systemd-analyze", "verify", f"--root={root}", "--man=no", *NAMES)
    # About the system's own units it may say what it likes: their programs aren't there.
    said = [line for line in done.stderr.splitlines() if "ostree-sweep" in line]
    assert said == []


@pytest.mark.parametrize("name", ["ostree-sweep-cleanup.service", "ostree-sweep-finalized.service"])
def test_the_sandbox_lets_paths_be_kept_inside_of_a_directory(root: Path, name: str) -> None:
    """By openat2(2), which systemd refuses to services that may set no suid bits."""
    units.install(root, "/usr/local")
    unit = root / "usr/local/lib/systemd/system" / name
    assert "\nRestrictSUIDSGID=" not in unit.read_text(encoding="ascii")


@pytest.mark.parametrize("name", SERVICES)
def test_the_sandbox_is_as_tight_as_it_was(root: Path, name: str) -> None:
    units.install(root, "/usr/local")
    unit = root / "usr/local/lib/systemd/system" / name
    threshold = f"--threshold={EXPOSURE[name]}"
    done = systemd("systemd-analyze", "security", "--offline=true", threshold, "--no-pager", unit)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs_root
def test_the_units_have_the_capabilities_that_they_need(root: Path) -> None:
    """A read-only /sysroot is made writable by processes that may not look at process 1."""
    units.install(root, "/usr/local")

    def confined(unit: str) -> str:
        lines = (root / "usr/local/lib/systemd/system" / unit).read_text(encoding="ascii").splitlines()
        (words,) = (line.partition("=")[2] for line in lines if line.startswith("CapabilityBoundingSet="))
        names = [f"+{word.removeprefix('CAP_').lower()}" for word in words.split()]
        return f"setpriv --bounding-set={','.join(['-all', *names])}"

    sysroot = Sysroot.create(root / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.update(sysroot.deploy(2), 3)
    spare = sysroot.stamp.with_name(f"{sysroot.stamp.name}.spare")
    prepare, finalized, cleanup = map(confined, (SERVICES[2], SERVICES[1], SERVICES[0]))
    before = sysroot.objects()
    sysroot.boot(
        booted,
        f"""mount -o remount,bind,ro /sysroot
        ! {cleanup} readlink /proc/1/ns/mnt
        {prepare} {COMMAND} stamp --prepare --sysroot=/
        {finalized} {COMMAND} stamp --sysroot=/
        {cleanup} {COMMAND} cleanup --auto --sysroot=/""",
    )
    assert spare.exists()
    assert not sysroot.stamp.exists()
    assert sysroot.objects() < before


@pytest.mark.needs_root
def test_the_stamp_is_written_only_after_a_finalization(tmp_path: Path) -> None:
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.commit(3)
    stamp = f"{COMMAND} stamp --if-pending"

    def asked(script: str) -> bool:
        sysroot.boot(booted, f"ostree admin deploy --stage {BRANCH}\n{script}\n{stamp}")
        return sysroot.stamp.exists()

    assert not asked("")
    assert not asked("touch /run/ostree/staged-deployment-locked; ostree admin finalize-staged")
    assert not asked("ostree admin undeploy 0; ostree admin finalize-staged")
    assert not asked("chattr +i /sysroot/boot; ! ostree admin finalize-staged; chattr -i /sysroot/boot")
    assert asked("ostree admin finalize-staged")


@pytest.mark.needs_root
def test_at_shutdown_nothing_is_deleted_without_stamp_and_plan(tmp_path: Path) -> None:
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.commit(3)
    before = sysroot.objects()
    apply = f"{COMMAND} apply --auto --impact=full --time-budget=60"
    stage = f"ostree admin deploy --stage {BRANCH}; {COMMAND} plan >/dev/null"
    fails = f"{stage}; chattr +i /sysroot/boot; ! ostree admin finalize-staged; chattr -i /sysroot/boot"

    def said(script: str) -> str:
        return sysroot.boot(booted, script).stdout.splitlines()[-1]

    assert said(f"{fails}; {COMMAND} stamp --if-pending; {apply}") == "No cleanup needed."
    assert sysroot.objects() >= before
    done = said(f"{stage}; ostree admin finalize-staged; {COMMAND} stamp --if-pending; {apply}")
    assert done.startswith("Deleted ")
    assert not sysroot.stamp.exists()
    assert said(apply) == "No cleanup needed."


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_around_a_unit_leads_elsewhere(root: Path, name: str) -> None:
    """No variable of the manager's says which code Python loads, or which sysroot is cleaned up."""
    units.install(root, "/usr/local")
    lines = (root / "usr/local/lib/systemd/system" / name).read_text(encoding="ascii").splitlines()
    settings = [line.partition("=")[::2] for line in lines]
    unset = {word for key, value in settings if key == "UnsetEnvironment" for word in value.split()}
    assert unset >= {"OSTREE_REPO", "OSTREE_SYSROOT", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"}
    assert ("Environment", "PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1") in settings
    assert ("WorkingDirectory", "/") in settings
    assert all(" --sysroot=/" in value for key, value in settings if key.startswith("Exec"))
    assert any(key == "MemoryMax" for key, _ in settings)


def test_the_command_loads_nothing_from_the_working_directory(tmp_path: Path) -> None:
    marker = tmp_path / "loaded"
    names = {"ostree_sweep", "sitecustomize", "usercustomize", "tqdm", "tomli", *sys.stdlib_module_names}
    here = tmp_path / "here"
    here.mkdir()
    for name in names:
        (here / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="ascii")
    repo = worn_repo(tmp_path / "repo", "archive", versions=2)
    for arguments in (["prune", f"--repo={repo}"], ["du", f"--repo={repo}"], ["prune", "--help"]):
        subprocess.run([str(COMMAND), *arguments], cwd=here, check=True, capture_output=True)
    assert not marker.exists()
    # As Python itself would.
    subprocess.run([sys.executable, "-c", "import ostree_sweep"], cwd=here, check=False, capture_output=True)
    assert marker.exists()
