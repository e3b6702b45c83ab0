"""What can't be deleted stays with all that it needs, wherever in the order it comes, and the rest goes."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from support import repositories
from support.crash import KILLABLE, LONG, Expected, contents, worn_repo, worn_sysroot
from support.repositories import MODES
from support.sysroots import COMMAND, output

if TYPE_CHECKING:
    from pathlib import Path

ERRORS = ("EIO", "EPERM", "EROFS", "EBUSY")

# Of each run's deletions, how many are tried to fail, spread evenly over the run.
TRIED = 1000 if LONG else 4


def deletions(log: Path) -> int:
    """How many deletions were traced."""
    return log.read_text(encoding="utf-8").count("unlinkat(")


def with_failing_deletion(number: int, error: str, log: Path, *command: object) -> int:
    """Runs a command whose so many-th deletion fails, or none if that is 0; returns its exit status."""
    fault = f"inject=unlinkat:error={error}:when={number}" if number else "trace=unlinkat"
    strace = ["strace", "-f", "-qq", "-o", log, "-e", "trace=unlinkat", "-e", fault]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [*map(str, (*strace, *command))], check=False, capture_output=True, text=True, env=environment
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode


def left_in(repo: Path) -> frozenset[str]:
    """What a run has left: files, and the directories of static deltas whose files are gone."""
    emptied = (path for path in repo.glob("deltas/*/*") if not any(path.iterdir()))
    return contents(repo) | {str(path.relative_to(repo)) for path in emptied}


def numbers(count: int, start: int) -> range:
    return range(1 + start % max(1, count // TRIED), count + 1, max(1, count // TRIED))


@pytest.mark.parametrize("mode", MODES)
def test_a_prune_keeps_what_stuck_objects_need(tmp_path: Path, mode: str) -> None:
    repo = worn_repo(tmp_path / "repo", mode, versions=8)
    expected, log = Expected.of(repo), tmp_path / "log"
    trial = repositories.copy(repo, tmp_path / "trial")
    with_failing_deletion(0, "", log, KILLABLE, "prune", trial)
    index = MODES.index(mode)
    for number in numbers(deletions(log), index):
        shutil.rmtree(trial)
        repositories.copy(repo, trial)
        with_failing_deletion(number, ERRORS[(number + index) % len(ERRORS)], log, KILLABLE, "prune", trial)
        assert left_in(trial) > expected.after
        expected.check(trial)


def test_a_plan_keeps_what_stuck_objects_need(tmp_path: Path) -> None:
    repo = worn_repo(tmp_path / "repo", "archive", versions=8)
    retention = ("--refs-only", "--depth=0")
    reference = repositories.copy(repo, tmp_path / "reference")
    output(COMMAND, "prune", *retention, f"--repo={reference}")
    plan, log, trial = tmp_path / "plan", tmp_path / "log", tmp_path / "trial"
    count = 0
    for number in (0, *range(1, 1000)):
        if number and number not in numbers(count, 2):
            continue
        repositories.copy(repo, trial)
        output(COMMAND, "plan", "--impact=full", *retention, f"--repo={trial}", "-o", plan)
        status = with_failing_deletion(
            number, "EIO", log, COMMAND, "apply", "--impact=full", "--jobs=1", plan
        )
        repositories.fsck(trial)
        if number == 0:
            count = deletions(log)
        else:
            assert status == 3
            assert left_in(trial) > left_in(reference)
            output(COMMAND, "prune", *retention, f"--repo={trial}")
        assert repositories.objects(trial) == repositories.objects(reference)
        shutil.rmtree(trial)


@pytest.mark.needs_root
def test_a_cleanup_keeps_what_stuck_objects_need(tmp_path: Path) -> None:
    sysroot = worn_sysroot(tmp_path / "sysroot")
    reference = sysroot.copy(tmp_path / "reference")
    output(COMMAND, "cleanup", "--impact=full", f"--sysroot={reference.path}")
    log, count = tmp_path / "log", 0
    for number in (0, *range(1, 10_000)):
        if number and number not in numbers(count, 1):
            continue
        trial = sysroot.copy(tmp_path / "trial", linked=True)
        command = (COMMAND, "cleanup", "--auto", "--impact=full", "--jobs=1", f"--sysroot={trial.path}")
        status = with_failing_deletion(number, "EBUSY", log, *command)
        trial.ostree("fsck", "--quiet")
        if number == 0:
            count = deletions(log)
        elif status == 3:
            assert trial.stamp.exists()
            trial.admin("status")
            output(*command)
        assert trial.state() == reference.state()
        trial.remove()
    sysroot.remove()
    reference.remove()


@pytest.mark.needs_root
@pytest.mark.parametrize("mode", MODES)
def test_an_immutable_commit_keeps_all_that_it_needs(tmp_path: Path, mode: str) -> None:
    repo = tmp_path / "repo"

    def ostree(*arguments: object) -> str:
        return output("ostree", f"--repo={repo}", *arguments).strip()

    ostree("init", f"--mode={mode}")
    made = []
    for number in range(3):
        tree = tmp_path / str(number)
        (tree / "own").mkdir(parents=True)
        (tree / "own" / "file").write_text(f"{number}", encoding="ascii")
        made.append(ostree("commit", f"--branch=b{number}", tree))
    stuck, gone = made[1], made[2]
    needed = {name for names in repositories.nodes(repo, stuck).values() for name in names}
    ostree("refs", "--delete", "b1")
    ostree("refs", "--delete", "b2")
    path = repositories.object_path(repo, f"{stuck}.commit")
    output("chattr", "+i", path)
    try:
        done = subprocess.run(
            [COMMAND, "prune", "--refs-only", f"--repo={repo}"], check=False, capture_output=True, text=True
        )
    finally:
        output("chattr", "-i", path)
    assert done.returncode == 3
    assert f"cannot remove objects/{stuck[:2]}/{stuck[2:]}.commit" in done.stderr
    left = repositories.objects(repo)
    assert needed | {f"{stuck}.commit"} <= left
    assert f"{gone}.commit" not in left
    ostree("fsck", "--quiet")
