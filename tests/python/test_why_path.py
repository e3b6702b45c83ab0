"""`why` takes the path of a deployed file, and of a file in any commit."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from ostree_sweep import OstreeSweepError
from support.samples import COMMAND
from support.sysroots import BRANCH, Sysroot, output

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sysroot, str, str]:
    """A sysroot with two deployments, and their commits."""
    sysroot = Sysroot.create(tmp_path_factory.mktemp("why") / "sysroot", directories=3)
    return sysroot, sysroot.deploy(1), sysroot.deploy(2)


def object_file(repo: Path, name: str) -> Path:
    return repo / "objects" / name[:2] / name[2:]


@pytest.mark.needs_root
def test_a_deployed_file_is_the_object_that_it_is_a_link_to(deployed: tuple[Sysroot, str, str]) -> None:
    sysroot, first, second = deployed
    root = sysroot.deployment(first)
    old = [f"os {first}.0"]
    both = [*old, f"os {second}.0"]
    kept_by = {
        "usr/lib/os-release": old,
        # By way of a symlink to a directory, and a symlink itself.
        "lib/os-release": old,
        "lib": both,
        "usr/share/1/1": both,
    }
    for path, names in kept_by.items():
        found = ostree_sweep.why(str(root / path), sysroot=sysroot.path)
        assert object_file(sysroot.repo, found.object).lstat().st_ino == (root / path).lstat().st_ino
        deployments = [way.name for way in found.kept_by if way.kind == "deployment"]
        assert sorted(deployments) == sorted(names)
        where = "/usr/lib/os-release" if path == "lib/os-release" else f"/{path}"
        assert {way.path for way in found.kept_by} == {where}


@pytest.mark.needs_root
def test_directories_and_files_below_etc_are_found(deployed: tuple[Sysroot, str, str]) -> None:
    sysroot, first, _ = deployed
    root = sysroot.deployment(first)
    listed = sysroot.ostree("ls", "--dironly", "--checksum", first, "/usr/lib")
    (tree, _) = re.findall("[0-9a-f]{64}", listed)
    assert ostree_sweep.why(str(root / "usr/lib"), sysroot=sysroot.path).object == f"{tree}.dirtree"
    assert ostree_sweep.why(str(root), sysroot=sysroot.path).object.endswith(".dirtree")
    found = ostree_sweep.why(str(root / "etc/version"), sysroot=sysroot.path)
    listed = sysroot.ostree("ls", "--checksum", first, "/usr/etc/version")
    assert found.object.removesuffix(".file") in listed


@pytest.mark.needs_root
def test_the_command_takes_a_path_from_where_one_stands(deployed: tuple[Sysroot, str, str]) -> None:
    sysroot, first, _ = deployed
    said = subprocess.run(
        [COMMAND, "why", f"--sysroot={sysroot.path}", "--json", "usr/lib/os-release"],
        cwd=sysroot.deployment(first),
        check=True,
        capture_output=True,
    ).stdout
    assert json.loads(said)["kept_by"][0]["path"] == "/usr/lib/os-release"


@pytest.mark.needs_root
def test_in_a_booted_system_a_path_is_that_of_the_booted_deployment(
    deployed: tuple[Sysroot, str, str],
) -> None:
    sysroot, _, second = deployed
    paths = ("/usr/lib/os-release", "/lib/os-release", "/etc/version")
    script = "; ".join(f"{COMMAND} why --json {path}" for path in paths)
    found = [json.loads(line) for line in sysroot.boot(second, f"cd /usr; {script}").stdout.splitlines()]
    for path, each in zip(("/usr/lib/os-release", "/usr/lib/os-release", "/usr/etc/version"), found):
        (way,) = (way for way in each["kept_by"] if way["kind"] == "deployment")
        assert (way["commit"], way["path"]) == (second, path)


@pytest.mark.needs_root
def test_what_no_commit_has_is_refused(deployed: tuple[Sysroot, str, str], tmp_path: Path) -> None:
    sysroot, first, _ = deployed
    with pytest.raises(OstreeSweepError, match=r"\.commit has no '/usr/none'"):
        ostree_sweep.why(str(sysroot.deployment(first) / "usr/none"), sysroot=sysroot.path)
    with pytest.raises(OstreeSweepError, match=r"has no '/usr/lib/os-release/below'"):
        ostree_sweep.why(str(sysroot.deployment(first) / "usr/lib/os-release/below"), sysroot=sysroot.path)
    with pytest.raises(OstreeSweepError, match="it is in no deployment"):
        ostree_sweep.why(str(tmp_path / "file"), sysroot=sysroot.path)


def test_a_file_of_any_commit_is_found(tmp_path: Path) -> None:
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    (tree / "a:" / "b").mkdir(parents=True)
    (tree / "a:" / "b" / "c").write_text("c", encoding="ascii")
    output("ostree", "init", "--mode=archive", f"--repo={repo}")
    commit = output("ostree", "commit", f"--repo={repo}", f"--branch={BRANCH}", tree).strip()
    name = re.findall("[0-9a-f]{64}", output("ostree", f"--repo={repo}", "ls", "-C", BRANCH, "/a:/b/c"))[0]
    for start in (BRANCH, commit, commit[:10], f"{commit}.commit"):
        assert ostree_sweep.why(f"{start}:/a:/b/c", repo).object == f"{name}.file"
    lines = output(COMMAND, "why", f"--repo={repo}", f"{BRANCH}:/a:/b/c").splitlines()
    assert lines[0] == f"{name}.file"
    assert lines[-1].strip() == "/a:/b/c"
    assert ostree_sweep.why(f"{BRANCH}:a:/b/c", repo).object == f"{name}.file"
    (stored,) = repo.glob(f"objects/{name[:2]}/{name[2:]}.file*")
    assert ostree_sweep.why(str(stored), repo).object == f"{name}.file"
    with pytest.raises(OstreeSweepError, match=f"did you mean '{BRANCH}'"):
        ostree_sweep.why(f"{BRANCH}x", repo)
    with pytest.raises(OstreeSweepError, match="or a deployed file's path"):
        ostree_sweep.why("something else", repo)
    with pytest.raises(OstreeSweepError, match="is no commit"):
        ostree_sweep.why(f"{name}.file:/a", repo)
    with pytest.raises(OstreeSweepError, match="neither a ref nor an object"):
        ostree_sweep.why("none:/a", repo)
