"""Plans of repositories: what they say, what they are trusted with, and what is deleted by them."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Callable

import pytest

import ostree_sweep
from ostree_sweep import PrunePlan
from support.repositories import copy, fsck, listing, object_path, objects
from support.sysroots import COMMAND, output
from support.users import give, sweep_as

HEADER_AT = 16
ENTRY = 40


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A branch of three commits, each with files of its own and one directory that all share."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    output("ostree", f"--repo={repo}", "init", "--mode=bare-user")
    for directory in ("shared", "own"):
        (tree / directory).mkdir(parents=True)
    (tree / "shared" / "file").write_text("the same in all")
    for number in range(3):
        (tree / "own" / "file").write_text(f"{number}")
        (tree / "own" / f"more{number}").write_text(f"more {number}")
        commit(repo, tree, "--branch=main")
    return repo


@pytest.fixture
def plan(repo: Path, tmp_path: Path) -> PrunePlan:
    """What a prune to the newest commit alone would delete."""
    return ostree_sweep.plan(repo=repo, refs_only=True, depth=0, output=tmp_path / "plan")


def commit(repo: Path, tree: Path, *options: str) -> str:
    return output("ostree", f"--repo={repo}", "commit", *options, f"--tree=dir={tree}").strip()


def history(repo: Path) -> list[str]:
    """The branch's commits, the oldest first."""
    log = output("ostree", f"--repo={repo}", "log", "main")
    return re.findall(r"^commit ([0-9a-f]{64})$", log, re.MULTILINE)[::-1]


def traced(*command: object) -> tuple[dict[str, object], int]:
    """Runs a command with `--json`; returns what it reports, and how many dirtrees it opened."""
    trace = Path(str(command[-1])).with_name("trace")
    report = output(
        "strace", "-f", "-qq", "-o", trace, "-e", "trace=openat,openat2", COMMAND, *command, "--json"
    )
    return json.loads(report), len(re.findall(r"\.dirtree\"", trace.read_text(encoding="utf-8")))


def test_the_plan_is_what_a_prune_deletes(repo: Path, plan: PrunePlan, tmp_path: Path) -> None:
    reference = copy(repo, tmp_path / "reference")
    pruned = ostree_sweep.prune(reference, refs_only=True, depth=0)
    assert (plan.objects, plan.bytes) == (pruned.objects_pruned, pruned.bytes_freed)
    assert {name: total.objects for name, total in plan.by_type.items()} == {
        name: tally.pruned for name, tally in pruned.by_type.items()
    }
    report, opened = traced("apply", tmp_path / "plan")
    assert opened == 0
    assert report["by_plan"]
    assert report["unfinished"] is None
    assert (report["objects_pruned"], report["bytes_freed"]) == (plan.objects, plan.bytes)
    assert objects(repo) == objects(reference)
    fsck(repo)
    assert ostree_sweep.apply(plan).objects_pruned == 0


def test_a_plan_says_what_each_commit_accounts_for(repo: Path, plan: PrunePlan) -> None:
    first, second, _ = history(repo)
    by_commit = {dropped.commit: dropped for dropped in plan.dropped}
    assert set(by_commit) == {first, second}
    assert by_commit[first].names == ("main",)
    total = sum(dropped.alone.objects for dropped in plan.dropped)
    shared = {dropped.shared.objects for dropped in plan.dropped}
    assert len(shared) == 1
    assert total + shared.pop() == plan.objects
    assert sum(dropped.alone.bytes for dropped in plan.dropped) <= plan.bytes
    assert {root.name: root.commit for root in plan.roots} == {"refs/heads/main": history(repo)[-1]}


def test_the_file_is_small_and_can_be_shown(repo: Path, plan: PrunePlan, tmp_path: Path) -> None:
    content = (tmp_path / "plan").read_bytes()
    (header,) = struct.unpack("<I", content[HEADER_AT - 4 : HEADER_AT])
    assert len(content) == HEADER_AT + header + 256 * 4 + ENTRY * plan.objects + 32
    assert PrunePlan.load(tmp_path / "plan") == plan
    assert pickle.loads(pickle.dumps(plan)) == plan  # noqa: S301 - our own
    shown = json.loads(output(COMMAND, "plan", f"--show={tmp_path / 'plan'}", "--json"))
    assert (shown["objects"], shown["bytes"], shown["repo"]) == (plan.objects, plan.bytes, str(repo))
    assert "names" not in shown
    told = json.loads(output(COMMAND, "plan", f"--show={tmp_path / 'plan'}", "--json", "--verbose"))
    before = objects(repo)
    lines = output(COMMAND, "plan", f"--show={tmp_path / 'plan'}").splitlines()
    assert lines[-2].startswith(f"Would delete: {plan.objects} objects, freeing ")
    ostree_sweep.apply(plan)
    assert set(told["names"]) == before - objects(repo)


def test_planning_changes_nothing_else(repo: Path) -> None:
    before = listing(repo)
    told = output(COMMAND, "plan", f"--repo={repo}", "--refs-only", "--depth=0")
    assert "Would delete: " in told
    assert "Plan: not kept, so nothing can apply it; --output=FILE keeps it" in told
    assert listing(repo) == before
    with pytest.raises(ValueError, match="plan must be kept in a file"):
        ostree_sweep.apply(ostree_sweep.plan(repo=repo, refs_only=True, depth=0))


@pytest.mark.parametrize("revive", ["refs", "commit"])
def test_what_is_kept_again_takes_back_what_it_needs(
    repo: Path, plan: PrunePlan, tmp_path: Path, revive: str
) -> None:
    """A commit that was to go needs no crawl for that; a new one does."""
    first = history(repo)[0]
    if revive == "refs":
        output("ostree", f"--repo={repo}", "refs", "--create=back", first)
    else:
        output("ostree", f"--repo={repo}", "commit", "--branch=back", f"--tree=ref={first}")
    report, opened = traced("apply", tmp_path / "plan")
    assert (opened > 0) == (revive == "commit")
    assert 0 < int(str(report["objects_pruned"])) < plan.objects
    fsck(repo)
    output("ostree", f"--repo={repo}", "checkout", "-U", "back", tmp_path / "checkout")
    assert (tmp_path / "checkout" / "own" / "more0").read_text() == "more 0"
    reference = copy(repo, tmp_path / "reference")
    assert ostree_sweep.prune(reference, refs_only=True, depth=0).objects_pruned == 0


def test_what_was_rewritten_is_left_alone(repo: Path, plan: PrunePlan) -> None:
    first = history(repo)[0]
    written = objects(repo)
    path = object_path(repo, f"{first}.commit")
    shutil.copy2(path, path.with_name("scratch"))
    path.with_name("scratch").rename(path)
    report = ostree_sweep.apply(plan)
    # It is as good as new, and so it keeps what it reaches.
    assert f"{first}.commit" in objects(repo)
    assert 0 < report.objects_pruned < plan.objects
    fsck(repo)
    assert ostree_sweep.prune(repo, refs_only=True, depth=0).objects_pruned > 0
    assert len(written - objects(repo)) == plan.objects


def test_a_removed_checkout_changes_no_object(repo: Path, tmp_path: Path) -> None:
    """A checkout shares files with the repository, and their time of change goes with it."""
    output("ostree", f"--repo={repo}", "checkout", "-UH", history(repo)[0], tmp_path / "checkout")
    plan = ostree_sweep.plan(repo=repo, refs_only=True, depth=0, output=tmp_path / "plan")
    shutil.rmtree(tmp_path / "checkout")
    assert ostree_sweep.apply(plan).objects_pruned == plan.objects


def test_a_run_can_be_bounded(repo: Path, plan: PrunePlan) -> None:
    before = objects(repo)
    assert ostree_sweep.apply(plan, time_budget_s=0).unfinished == "the time budget is used up"
    assert objects(repo) == before
    some = ostree_sweep.apply(plan, max_freed=1)
    assert some.unfinished is not None
    assert 0 < some.objects_pruned < plan.objects
    fsck(repo)
    rest = ostree_sweep.apply(plan, time_budget_s=3600)
    assert rest.unfinished is None
    assert some.objects_pruned + rest.objects_pruned == plan.objects


def test_a_dry_run_tells_the_truth(repo: Path, plan: PrunePlan) -> None:
    before = listing(repo)
    told = ostree_sweep.apply(plan, dry_run=True)
    assert listing(repo) == before
    done = ostree_sweep.apply(plan)
    assert (told.objects_pruned, told.bytes_freed) == (done.objects_pruned, done.bytes_freed)


def edit(path: Path, at: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(content)] = content
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def symlink(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def replace(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "truncated"),
    "empty": (lambda path: os.truncate(path, 0), "not a plan"),
    "altered": (lambda path: edit(path, path.stat().st_size - 40, b"altered"), "checksum"),
    "no plan": (lambda path: path.write_text("[default]\nkeep-last = 1\n"), "not a plan"),
    "newer": (lambda path: edit(path, 8, struct.pack("<I", 2)), "version"),
    "world-writable": (lambda path: path.chmod(0o666), "write"),
    "group-writable": (lambda path: path.chmod(0o620), "write"),
    "symlink": (symlink, "symlink"),
    "fifo": (lambda path: replace(path, os.mkfifo), "regular"),
    "directory": (lambda path: replace(path, os.mkdir), "regular"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_plan_that_cannot_be_trusted_is_refused(
    repo: Path, plan: PrunePlan, tmp_path: Path, name: str
) -> None:
    spoil, reason = REFUSALS[name]
    assert plan.path is not None
    spoil(Path(plan.path))
    assert_refused(repo, tmp_path / "plan", reason)


@pytest.mark.needs_root
def test_somebody_elses_plan_is_refused(repo: Path, plan: PrunePlan, tmp_path: Path) -> None:
    assert plan.path is not None
    os.chown(plan.path, 65534, 65534)
    assert_refused(repo, tmp_path / "plan", "somebody else")


@pytest.mark.needs_root
@pytest.mark.parametrize("owner", ["root", "user"])
def test_ones_own_plan_and_roots_are_trusted(owner: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        repo, kept = Path(place, "repo"), Path(place, "plan")
        output("ostree", f"--repo={repo}", "init", "--mode=bare-user")
        tree = Path(place, "tree")
        tree.mkdir()
        commit(repo, tree, "--orphan")
        made = ostree_sweep.plan(repo=repo, refs_only=True, depth=0, output=kept)
        assert made.objects == 3
        give(repo)
        if owner == "user":
            give(kept)
        done = sweep_as("apply", kept)
        assert (done.returncode, done.stderr) == (0, "")
        assert objects(repo) == set()


def test_a_plan_of_another_repository_is_refused(repo: Path, plan: PrunePlan, tmp_path: Path) -> None:
    copy(repo, tmp_path / "copy")
    shutil.rmtree(repo)
    (tmp_path / "copy").rename(repo)
    assert plan.path is not None
    assert_refused(repo, tmp_path / "plan", "another repository")


def assert_refused(repo: Path, path: Path, reason: str) -> None:
    before = listing(repo)
    done = subprocess.run([COMMAND, "apply", path], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert reason in done.stderr
    assert listing(repo) == before
    with pytest.raises(ostree_sweep.StalePlanError, match=reason):
        ostree_sweep.apply(path)


def test_no_plan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ostree_sweep.apply(tmp_path / "none")
    output("ostree", "admin", f"--sysroot={tmp_path}", "init-fs", tmp_path)
    done = subprocess.run(
        [COMMAND, "apply", f"--sysroot={tmp_path}"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "there is no plan" in done.stderr


def test_planning_and_applying_can_be_cancelled(repo: Path, plan: PrunePlan) -> None:
    before = listing(repo)
    token = ostree_sweep.CancellationToken()
    token.cancel()
    with pytest.raises(ostree_sweep.OperationCancelled):
        ostree_sweep.plan(repo=repo, refs_only=True, cancellable=token)
    with pytest.raises(ostree_sweep.OperationCancelled):
        ostree_sweep.apply(plan, cancellable=token)
    assert listing(repo) == before


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_killed_at_any_deletion_the_rest_is_left_to_the_next(
    repo: Path, plan: PrunePlan, tmp_path: Path, step: int
) -> None:
    reference = copy(repo, tmp_path / "reference")
    ostree_sweep.prune(reference, refs_only=True, depth=0)
    before = objects(repo)
    kill = ["-e", "trace=unlinkat", "-e", f"inject=unlinkat:signal=KILL:when={step}"]
    killed = subprocess.run(
        ["strace", "-f", "-qq", "-o", "/dev/null", *kill, COMMAND, "apply", "--jobs=1", str(plan.path)],
        check=False,
    )
    assert killed.returncode == -9
    assert len(before - objects(repo)) < plan.objects
    fsck(repo)
    ostree_sweep.apply(plan)
    assert objects(repo) == objects(reference)
