"""The command line: usage errors, the no-op, defaults, and output that matches `ostree`'s."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support.samples import COMMAND, ostree

if TYPE_CHECKING:
    from collections.abc import Callable


def run(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, **environment},
    )


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a live commit and an orphaned one of some 30 kB."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    ostree("init", "--mode=bare-user", f"--repo={repo}")
    for branch in ("live", "dead"):
        (tree / "file").write_bytes(branch.encode() * 8000)
        ostree("commit", f"--repo={repo}", f"--branch={branch}", tree)
    ostree("refs", f"--repo={repo}", "--delete", "dead")
    return repo


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A physical root without any deployment."""
    sysroot = tmp_path / "sysroot"
    sysroot.mkdir()
    ostree("admin", f"--sysroot={sysroot}", "init-fs", sysroot)
    return sysroot


WRONG_USAGE = [
    [],
    ["frobnicate"],
    ["cleanup", "surplus"],
    ["cleanup", "--refs-only"],
    ["cleanup", "--aut"],
    ["prune", "--depth"],
    ["prune", "--depth=deep"],
    ["prune", "--impact=brutal"],
    ["prune", "--lock-timeout=nan"],
    ["prune", "--lock-timeout=soon"],
    ["prune", "--lock-slice=0"],
    ["prune", "--lock-slice=-0.1"],
    ["prune", "--lock-slice=inf"],
    ["cleanup", "--lock-slice=nan"],
    ["cleanup", "--lock-slice=short"],
    ["prune", "--jobs=many"],
    ["stamp", "--dry-run"],
    ["status", "--jobs=2"],
]


@pytest.mark.parametrize("arguments", WRONG_USAGE)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str]) -> None:
    outcome = run(*arguments)
    assert outcome.returncode == 2
    assert outcome.stdout == b""
    assert outcome.stderr.startswith(b"error: ")
    assert outcome.stderr.count(b"\n") == 1


@pytest.mark.parametrize("arguments", WRONG_USAGE)
def test_wrong_usage_as_json(arguments: list[str]) -> None:
    outcome = run(*arguments, "--json")
    assert outcome.returncode == 2
    assert outcome.stderr == b""
    assert json.loads(outcome.stdout)["error"]["type"] == "UsageError"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--keep-younger-than="],
        ["--keep-unreferenced-younger-than", ""],
        ["--policy="],
        ["--policy", ""],
        ["--repo="],
        ["--delete-commit="],
        ["--metrics="],
    ],
)
def test_an_empty_value_is_refused(repo: Path, arguments: list[str]) -> None:
    """A variable that is not set: midnight, no policy or the default repository was hardly meant."""
    before = sorted(repo.rglob("*"))
    name = arguments[0].rstrip("=")
    outcome = run("prune", "--refs-only", *arguments, cwd=repo)
    message = f"error: {name} is empty: is a variable not set? (see ostree-sweep --help)\n"
    assert (outcome.returncode, outcome.stdout, outcome.stderr.decode()) == (2, b"", message)
    assert sorted(repo.rglob("*")) == before


@pytest.mark.parametrize("arguments", [["--jobs=0"], ["--jobs=-1"], [f"--depth={10**30}"]])
def test_values_out_of_range_are_wrong_usage(repo: Path, arguments: list[str]) -> None:
    outcome = run("prune", f"--repo={repo}", "--no-prune", *arguments)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(b"error: ")


@pytest.mark.parametrize("command", [[], ["cleanup"], ["prune"], ["stamp"], ["status"], ["du"], ["why"]])
def test_help_and_version(command: list[str]) -> None:
    shown = run(*command, "--help")
    assert shown.returncode == 0
    assert shown.stdout.startswith(b"usage: ostree-sweep")
    version = run(*command, "--version")
    assert version.returncode == 0
    assert version.stdout.decode() == f"ostree-sweep {importlib.metadata.version('ostree-sweep')}\n"


def test_the_module_is_the_command(sysroot: Path) -> None:
    arguments = [sys.executable, "-m", "ostree_sweep", "cleanup", "--auto", f"--sysroot={sysroot}"]
    assert subprocess.run(arguments, check=True, capture_output=True).stdout == b"No cleanup needed.\n"


def test_the_no_op(sysroot: Path) -> None:
    before = sorted(sysroot.rglob("*"))
    outcome = run("cleanup", "--auto", f"--sysroot={sysroot}")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, b"No cleanup needed.\n", b"")
    assert sorted(sysroot.rglob("*")) == before


def test_the_no_op_never_loads_the_core(sysroot: Path) -> None:
    script = (
        "import sys; from ostree_sweep.cli import main; "
        f"assert main(['cleanup', '--auto', '--sysroot={sysroot}']) == 0; "
        "print(sorted({'ostree_sweep._core', 'asyncio', 'tqdm', 'ctypes'} & set(sys.modules)))"
    )
    outcome = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert outcome.stdout == b"No cleanup needed.\n[]\n"


def test_the_stamp_command_asks_for_one_cleanup(sysroot: Path) -> None:
    assert run("stamp", f"--sysroot={sysroot}").returncode == 0
    assert (sysroot / ".cleanup").exists()
    dry = run("cleanup", "--auto", "--dry-run", f"--sysroot={sysroot}")
    assert (dry.returncode, dry.stdout) == (0, b"No unreachable objects\n")
    assert (sysroot / ".cleanup").exists()
    real = run("cleanup", "--auto", OSTREE_SYSROOT=str(sysroot))
    assert (real.returncode, real.stdout) == (0, b"No unreachable objects\n")
    assert not (sysroot / ".cleanup").exists()


def test_a_plain_cleanup_clears_the_stamp_too(sysroot: Path) -> None:
    (sysroot / ".cleanup").touch()
    report = ostree_sweep.cleanup(sysroot)
    assert report.stamp_removed
    assert not (sysroot / ".cleanup").exists()


def test_another_stamp_can_be_named(sysroot: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "due"
    (sysroot / ".cleanup").touch()
    assert not ostree_sweep.auto_cleanup(sysroot, stamp=elsewhere).ran
    elsewhere.touch()
    assert ostree_sweep.auto_cleanup(sysroot, stamp=elsewhere).stamp_removed
    assert (sysroot / ".cleanup").exists()


@pytest.mark.needs_root
def test_a_stamp_that_cannot_be_removed_is_a_failure(sysroot: Path) -> None:
    stamp = sysroot / ".cleanup"
    stamp.touch()
    subprocess.run(["chattr", "+i", stamp], check=True)
    try:
        outcome = run("cleanup", "--auto", f"--sysroot={sysroot}")
    finally:
        subprocess.run(["chattr", "-i", stamp], check=True)
    assert outcome.returncode == 3
    assert outcome.stderr.decode() == f"error: cannot remove {stamp}: Operation not permitted\n"


def test_status_shows_the_stamp(sysroot: Path) -> None:
    assert json.loads(run("status", "--json", f"--sysroot={sysroot}").stdout)["stamp"] is None
    run("stamp", f"--sysroot={sysroot}")
    shown = json.loads(run("status", "--json", f"--sysroot={sysroot}").stdout)
    assert shown["stamp"]["path"] == str(sysroot / ".cleanup")
    assert shown["stamp"]["note"]["deployed"] == []
    assert shown["deployments"] == []
    assert shown["reclaimable"] == {"objects": 0, "bytes": 0, "disk_bytes": 0}
    lines = run("status", f"--sysroot={sysroot}").stdout.decode()
    assert f"Stamp:           {sysroot / '.cleanup'} (made 20" in lines
    assert "Reclaimable:     0 objects, 0 B" in lines


@pytest.mark.parametrize("command", [["cleanup"], ["cleanup", "--auto"], ["stamp"], ["status"]], ids=" ".join)
def test_no_such_sysroot(tmp_path: Path, command: list[str]) -> None:
    outcome = run(*command, f"--sysroot={tmp_path / 'absent'}")
    assert outcome.returncode == 1
    assert outcome.stdout == b""
    assert str(tmp_path / "absent").encode() in outcome.stderr
    assert outcome.stderr.startswith(b"error: ")
    assert outcome.stderr.count(b"\n") == 1


@pytest.mark.parametrize("path", ["absent", "."])
def test_no_repository(tmp_path: Path, path: str) -> None:
    outcome = run("prune", f"--repo={tmp_path / path}", "--json")
    assert outcome.returncode == 1
    assert outcome.stderr == b""
    error = json.loads(outcome.stdout)["error"]
    assert str(tmp_path) in error["message"]


def listed(repo: Path) -> list[str]:
    return sorted(str(path) for path in repo.glob("objects/??/*"))


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "xx_XX.UTF-8", ""])
@pytest.mark.parametrize("setting", ["LC_ALL", "LANG", "LC_CTYPE"])
def test_lines_match_ostree_in_every_locale(repo: Path, setting: str, locale: str) -> None:
    environment = {"PATH": os.environ["PATH"], setting: locale}
    arguments = ["prune", f"--repo={repo}", "--refs-only", "--no-prune"]
    theirs = subprocess.run(["ostree", *arguments], env=environment, check=True, capture_output=True)
    ours = subprocess.run([COMMAND, *arguments], env=environment, check=True, capture_output=True)
    assert ours.stdout == theirs.stdout
    assert b"Would delete: 3 objects, freeing 3" in ours.stdout


def test_lines_of_a_real_run_match_ostree(repo: Path, tmp_path: Path) -> None:
    shutil.copytree(repo, tmp_path / "copy")
    for _ in range(2):  # the second time finds nothing to delete
        theirs = subprocess.run(
            ["ostree", "prune", f"--repo={tmp_path / 'copy'}", "--refs-only"], check=True, capture_output=True
        )
        ours = run("prune", f"--repo={repo}", "--refs-only")
        assert (ours.returncode, ours.stdout, ours.stderr) == (0, theirs.stdout, b"")


def test_options_may_stand_before_the_command(repo: Path) -> None:
    after = run("prune", f"--repo={repo}", "--no-prune")
    before = run(f"--repo={repo}", "prune", "--no-prune")
    assert before.returncode == 0
    assert before.stdout == after.stdout


def test_verbose_names_each_pruned_object(repo: Path) -> None:
    before = listed(repo)
    outcome = run("prune", f"--repo={repo}", "--refs-only", "-v")
    gone = set(before) - set(listed(repo))
    names = {Path(path).parent.name + Path(path).name for path in gone}
    assert names <= {line.split("  ")[0] for line in outcome.stderr.decode().splitlines()}
    assert len(names) == 3


def test_a_plan_is_a_sysroots_or_a_repositorys(repo: Path) -> None:
    for sysroot in ("/", "/sysroot"):
        outcome = run("plan", f"--sysroot={sysroot}", f"--repo={repo}")
        assert outcome.returncode == 2
        assert b"--repo: not allowed with argument --sysroot" in outcome.stderr


def test_the_default_repository_is_the_one_ostree_takes(repo: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    other, under_sysroot = tmp_path / "other", tmp_path / "root" / "ostree" / "repo"
    plain.mkdir()
    under_sysroot.parent.mkdir(parents=True)
    ostree("init", "--mode=archive", f"--repo={other}")
    shutil.copytree(repo, under_sysroot)
    ostree("refs", f"--repo={under_sysroot}", "--delete", "live")
    variables = {"OSTREE_REPO": str(other), "OSTREE_SYSROOT": str(tmp_path / "root")}
    seen = set()
    for cwd, names in (
        (repo, ["OSTREE_REPO", "OSTREE_SYSROOT"]),
        (plain, ["OSTREE_REPO", "OSTREE_SYSROOT"]),
        (plain, ["OSTREE_SYSROOT"]),
    ):
        environment = {name: variables.get(name, "") if name in names else "" for name in variables}
        arguments = ["prune", "--refs-only", "--no-prune"]
        theirs = subprocess.run(
            ["ostree", *arguments],
            cwd=cwd,
            env={**os.environ, **environment},
            check=True,
            capture_output=True,
        )
        assert run(*arguments, cwd=cwd, **environment).stdout == theirs.stdout
        seen.add(theirs.stdout)
    assert len(seen) == 3


@pytest.mark.parametrize(
    "arguments", [["--help"], ["prune", "--no-prune"], ["prune", "--no-prune", "--json"]]
)
def test_a_closed_pipe_is_no_crash(repo: Path, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    outcome = subprocess.run(
        [COMMAND, *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "OSTREE_REPO": str(repo), "PYTHONUNBUFFERED": ""},
    )
    os.close(writing)
    assert outcome.stderr == b""
    assert outcome.returncode == 1


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_full_disk_is_an_error(repo: Path, option: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = subprocess.run(
            [COMMAND, "prune", f"--repo={repo}", "--no-prune", *option],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert outcome.returncode == 1
    assert b"Traceback" not in outcome.stderr


@pytest.fixture
def without_libostree(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command with an extension that asks for a library that no host has."""
    package = tmp_path / "ostree_sweep"
    shutil.copytree(Path(ostree_sweep.__file__).parent, package)
    for extension in package.glob("_core*.so"):
        content = extension.read_bytes()
        assert b"libostree-1.so.1" in content
        extension.write_bytes(content.replace(b"libostree-1.so.1", b"libostree-1.so.X"))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "ostree_sweep", *map(str, arguments)]
        return subprocess.run(words, cwd=tmp_path, check=False, capture_output=True, text=True)

    return run


def test_without_libostree_a_repository_is_pruned(
    repo: Path, without_libostree: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    outcome = without_libostree("prune", f"--repo={repo}", "--refs-only")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "Deleted 3 objects" in outcome.stdout
    ostree("fsck", f"--repo={repo}", "--quiet")
    assert without_libostree("du", f"--repo={repo}").returncode == 0


@pytest.mark.parametrize("command", ["cleanup", "status", "du", "plan"])
def test_without_libostree_the_package_to_install_is_named(
    command: str, tmp_path: Path, without_libostree: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    ostree("admin", f"--sysroot={root}", "init-fs", root)
    outcome = without_libostree(command, f"--sysroot={root}")
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: libostree-1.so.X is missing: install the package libostree-1-1 ")
    assert "ostree-libs" in outcome.stderr


def test_a_terminal_gets_a_progress_bar(repo: Path) -> None:
    terminal, its_end = pty.openpty()
    outcome = subprocess.run(
        [COMMAND, "prune", f"--repo={repo}", "--refs-only", "--json"],
        stdout=subprocess.PIPE,
        stderr=its_end,
        check=True,
    )
    os.close(its_end)
    drawn = b""
    with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
        while chunk := os.read(terminal, 4096):
            drawn += chunk
    os.close(terminal)
    assert b"sweep" in drawn or b"done" in drawn
    assert b"freed" in drawn
    assert json.loads(outcome.stdout)["objects_pruned"] == 3


def test_help_lists_the_exit_statuses() -> None:
    help_text = subprocess.run([COMMAND, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in ("  75   the lock stayed busy", "  1    error"):
        assert f"{line}\n" in help_text
