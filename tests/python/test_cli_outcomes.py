"""What the command says of runs that were stopped, hindered, or lost their reader, and of wrong arguments."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from support.checkouts import attempt
from support.crash import SLOWLY
from support.repositories import (
    MODES,
    Commit,
    Delete,
    Description,
    Directory,
    File,
    Repository,
    build,
    commits,
    fsck,
    objects,
)
from support.sysroots import COMMAND, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = 12


@pytest.fixture
def repo(tmp_path: Path) -> Repository:
    """A repository with a dozen commits of a few files, which no ref leads to, and one live commit."""
    steps = [
        Commit("os/test", Directory(tuple((f"{part}{number}", File(f"{number}{part}")) for part in "abcde")))
        for number in range(VERSIONS)
    ]
    live = Commit("main", Directory((("a", File("live")),)))
    return build(Description((live, *steps, Delete(1))), tmp_path / "repo", MODES[3])


def sweep(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [str(COMMAND), *map(str, arguments)],
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )


def test_a_run_that_was_stopped_before_it_knew_does_not_say_that_all_is_clean(repo: Repository) -> None:
    before = objects(repo.path)
    done = sweep("prune", f"--repo={repo.path}", "--refs-only", "--time-budget=0")
    assert (done.returncode, done.stdout.splitlines()[:3]) == (
        0,
        [
            "Total objects: unknown",
            "No objects were deleted",
            "Something is left: the time budget is used up",
        ],
    )
    done = sweep("prune", f"--repo={repo.path}", "--refs-only", "--max-freed=0")
    assert (done.returncode, done.stdout) == (0, "Nothing was deleted: --max-freed allows nothing\n")
    assert objects(repo.path) == before


def test_a_bounded_dry_run_tells_all_objects_and_the_bound(repo: Repository) -> None:
    plain = sweep("prune", f"--repo={repo.path}", "--refs-only", "--dry-run").stdout.splitlines()
    bounded = sweep("prune", f"--repo={repo.path}", "--refs-only", "--dry-run", "--max-freed=1")
    *same, bound = bounded.stdout.splitlines()
    assert same == plain
    assert bound.replace("\u00a0", " ") == "At most 1 byte of it would be freed in one run (--max-freed)"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGINT])
def test_signals_cancel_a_run(repo: Repository, number: signal.Signals) -> None:
    before = len(objects(repo.path))
    command = [*SLOWLY, "--", str(COMMAND), "prune", f"--repo={repo.path}", "--refs-only", "--max-unlinks=5"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Tests in the background or under nohup ignore some, and the command goes on doing so.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as running:
        wait_until(lambda: len(objects(repo.path)) < before)
        (child,) = map(int, Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split())
        os.kill(child, number)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 128 + number
    assert said.startswith("error: the operation was cancelled: Deleted ")
    fsck(repo.path)


def wait_until(is_so: object, limit_s: float = 60) -> None:
    end = time.monotonic() + limit_s
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_reader_that_goes_does_not_stop_a_real_prune(repo: Repository) -> None:
    garbage = sweep("prune", f"--repo={repo.path}", "--refs-only", "--dry-run", "--json")
    # Slowly, so that the reader has gone long before the end.
    prune = f"'{COMMAND}' prune --repo='{repo.path}' --refs-only --verbose --max-unlinks=40"
    command = f"{prune} 2>&1 >/dev/null | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == 1
    after = sweep("prune", f"--repo={repo.path}", "--refs-only", "--dry-run", "--json")
    assert json.loads(garbage.stdout)["objects_pruned"] > VERSIONS
    assert json.loads(after.stdout)["objects_pruned"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["prune", "--help"],
        ["prune", "--no-prune"],
        ["prune", "--no-prune", "--json"],
    ],
)
def test_output_that_cannot_be_written_is_named(repo: Repository, arguments: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = sweep(*arguments, stdout=full, env={**os.environ, "OSTREE_REPO": str(repo.path)})
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write standard output: No space left on device\n",
    )


def test_max_freed_bounds_commits_too(repo: Repository) -> None:
    before = commits(repo.path)
    limit = 2 * max(path.stat().st_size for path in repo.path.glob("objects/??/*.commit"))
    report = ostree_sweep.prune(repo.path, refs_only=True, max_freed=limit)
    assert limit <= report.bytes_freed < 2 * limit
    assert report.unfinished is not None
    assert len(before) - 3 <= len(commits(repo.path)) < len(before)
    fsck(repo.path)
    rest = ostree_sweep.prune(repo.path, refs_only=True)
    assert rest.unfinished is None
    assert commits(repo.path) == {repo.head("main")}
    fsck(repo.path)


@pytest.mark.needs_root
def test_what_one_commit_keeps_is_counted(repo: Repository) -> None:
    stuck = repo.commits[3]
    path = repo.path / "objects" / stuck[:2] / f"{stuck[2:]}.commit"
    output("chattr", "+i", path)
    try:
        done = sweep("prune", f"--repo={repo.path}", "--refs-only")
        again = sweep("prune", f"--repo={repo.path}", "--refs-only", "--json")
    finally:
        output("chattr", "-i", path)
    assert done.returncode == 3
    # Its directory, that one's metadata is the live commit's, and five files.
    assert (
        f"Something is left: 6 objects stay, which a commit that can't be deleted needs: {stuck}"
        in done.stdout
    )
    assert f"cannot remove objects/{stuck[:2]}/{stuck[2:]}.commit" in done.stderr
    report = json.loads(again.stdout)["report"]
    assert (report["objects_pruned"], report["unfinished"][:14]) == (0, "6 objects stay")
    assert ostree_sweep.prune(repo.path, refs_only=True).objects_pruned == 7


def test_a_hindered_run_does_not_say_that_all_is_clean(repo: Repository) -> None:
    assert "No unreachable objects" in sweep("prune", f"--repo={repo.path}").stdout


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Sysroot]:
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    sysroot.commit(2, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    yield sysroot
    sysroot.remove()


@pytest.mark.needs_root
def test_a_dry_run_says_that_the_stamp_would_go(sysroot: Sysroot) -> None:
    sysroot.stamp.touch()
    told = json.loads(attempt(sysroot, "--dry-run", "--json").stdout)
    assert sysroot.stamp.exists()
    done = json.loads(attempt(sysroot, "--impact=full", "--json").stdout)
    assert told["stamp_removed"] is done["stamp_removed"] is True
    assert not sysroot.stamp.exists()


@pytest.mark.needs_root
def test_status_does_not_show_a_plan_that_would_be_refused_as_usable(
    sysroot: Sysroot, tmp_path: Path
) -> None:
    sweep("plan", f"--sysroot={sysroot.path}")
    assert "objects" in json.loads(sweep("status", f"--sysroot={sysroot.path}", "--json").stdout)["plan"]
    other = sysroot.copy(tmp_path / "other")
    try:
        told = json.loads(sweep("status", f"--sysroot={other.path}", "--json").stdout)["plan"]
        refused = sweep("apply", f"--sysroot={other.path}")
    finally:
        other.remove()
    assert refused.returncode == 1
    assert told["error"] in refused.stderr
    assert str(sysroot.repo) in told["error"]


@pytest.mark.needs_root
def test_status_does_not_report_locks_that_nobody_heeds(sysroot: Sysroot) -> None:
    (sysroot.repo / ".lock").touch()
    with (sysroot.repo / ".lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = json.loads(sweep("status", f"--sysroot={sysroot.path}", "--json").stdout)
        assert (found["repo_lock"], found["lock_holders"]) == ("free", [])
        assert sweep("prune", f"--repo={sysroot.repo}", "--lock-timeout=0").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["prune", "--repo=/etc/passwd"], 1, "opening repo: /etc/passwd: it is no directory"),
        (
            ["prune", "--lock-timeout=-4"],
            2,
            "argument --lock-timeout: neither 0 or more seconds nor -1, for ever: '-4'",
        ),
        (["prune", "--time-budget=-1"], 2, "argument --time-budget: less than 0 seconds: '-1'"),
        (["prune", "--max-unlinks=0"], 2, "argument --max-unlinks: no whole number of at least 1: '0'"),
        (["prune", "--jobs=0"], 2, "argument --jobs: no whole number of at least 1: '0'"),
        (["prune", "--max-freed=-1"], 2, "a size is a number of bytes, or one with K, M, G or T"),
        (["prune", "--free-until=half"], 2, "no size: 'half'; a size is a number of bytes"),
        (
            ["prune", "--dryrun"],
            2,
            "unrecognized arguments: --dryrun; did you mean --dry-run? (see ostree-sweep prune --help)",
        ),
        (
            ["prune", "--sysroot=sr"],
            2,
            "prune has no --sysroot; for a sysroot: ostree-sweep cleanup --sysroot=sr (see",
        ),
        (
            ["cleanup", "--dry-run", "--repo", "srv"],
            2,
            "cleanup has no --repo; for a repository: ostree-sweep prune --repo srv --dry-run (see",
        ),
        (
            ["cleanup", "--refs-only"],
            2,
            "cleanup has no --refs-only; these commands have it: prune, plan (see ostree-sweep cleanup",
        ),
        (["statsu"], 2, "there is no command 'statsu'; did you mean status?"),
        (
            ["why", "zzzz"],
            1,
            "'zzzz' is neither a ref nor an object: give a ref, a checksum or its beginning",
        ),
    ],
)
def test_messages_say_what_is_wrong_and_what_to_do(
    repo: Repository, arguments: list[str], status: int, said: str
) -> None:
    done = sweep(*arguments, env={**os.environ, "OSTREE_REPO": str(repo.path)})
    assert done.returncode == status
    assert said in done.stderr


def test_a_place_without_its_option_is_told_with_it(repo: Repository) -> None:
    for command in ("status", "du", "prune"):
        done = sweep(command, str(repo.path))
        assert done.returncode == 2
        assert f"did you mean --repo={repo.path}? (see ostree-sweep {command} --help)" in done.stderr
