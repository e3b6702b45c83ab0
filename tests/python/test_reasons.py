"""What `--verbose` tells of each item that goes, and of each that would: its name, and why."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from support.samples import COMMAND, locked, object_files, ostree
from support.sysroots import started, wait_until

if TYPE_CHECKING:
    from pathlib import Path

UNREACHABLE = "nothing that is kept leads to it"
DATE = "2020-01-01 00:00 +0000"


def commit(
    repo: Path, tree: Path, branch: str | None, text: str, date: str = "2020-01-01 00:00 +0000"
) -> str:
    tree.mkdir(exist_ok=True)
    (tree / "file").write_text(text)
    where = [f"--branch={branch}"] if branch is not None else ["--orphan"]
    command = ["ostree", f"--repo={repo}", "commit", *where, f"--tree=dir={tree}", f"--timestamp={date}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "repo"
    ostree("init", "--mode=archive", f"--repo={path}")
    return path


def told(repo: Path, *arguments: str) -> dict[str, str]:
    command = [str(COMMAND), "prune", f"--repo={repo}", "-v", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    parts = [line.split("  ", 1) for line in done.stderr.splitlines()]
    return {part[0]: part[1] for part in parts if len(part) == 2}


def test_a_dry_run_tells_why_each_item_would_go(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    history = [commit(repo, tree, "main", f"main {number}") for number in range(4)]
    lost = commit(repo, tree, None, "lost")
    ostree("static-delta", "generate", f"--repo={repo}", f"--from={history[0]}", f"--to={history[1]}")
    summaries = repo / "tmp/cache/summaries"
    summaries.mkdir(parents=True)
    (summaries / "gone\n").touch()
    before = object_files(repo)

    found = told(repo, "--refs-only", "--depth=1", "--dry-run")
    behind = "beyond depth 1 of refs/heads/main"
    commits = {name: why for name, why in found.items() if name.endswith(".commit")}
    assert commits == {
        f"{history[0]}.commit": behind,
        f"{history[1]}.commit": behind,
        f"{lost}.commit": "no ref or deployment leads to it",
    }
    deltas = [why for name, why in found.items() if name.startswith("deltas/")]
    assert deltas == [f"it leads to {history[1]}, which is not kept"]
    assert found["tmp/cache/summaries/gone\\n"] == "its remote is not configured"
    rest = {name: why for name, why in found.items() if name.endswith((".dirtree", ".file"))}
    assert set(rest.values()) == {UNREACHABLE}
    assert len(rest) == 6
    assert len(found) == 3 + 6 + 1 + 1
    assert object_files(repo) == before
    assert (summaries / "gone\n").exists()

    assert told(repo, "--refs-only", "--depth=1") == found
    assert not (summaries / "gone\n").exists()


def test_dates_and_unreadable_commits(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    history = [
        commit(repo, tree, "main", f"main {number}", f"202{number}-01-01 00:00 +0000") for number in range(4)
    ]
    middle = repo / "objects" / history[1][:2] / f"{history[1][2:]}.commit"
    middle.write_bytes(b"garbage")

    found = told(repo, "--keep-younger-than=2022-06-01 00:00 +0000", "--dry-run")
    assert {name: why for name, why in found.items() if name.endswith(".commit")} == {
        f"{history[0]}.commit": "no ref or deployment leads to it",  # as far as can be seen
        f"{history[1]}.commit": "older than what is kept of refs/heads/main",
        f"{history[2]}.commit": "older than what is kept of refs/heads/main",
    }


def test_a_commit_deleted_by_name(repo: Path, tmp_path: Path) -> None:
    lost = commit(repo, tmp_path / "tree", None, "lost")
    assert told(repo, f"--delete-commit={lost}")[f"{lost}.commit"] == "as asked"


def test_deltas_deleted_by_name(repo: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    lost = [commit(repo, tree, None, f"lost {number}") for number in range(2)]
    ostree("static-delta", "generate", f"--repo={repo}", f"--from={lost[0]}", f"--to={lost[1]}")
    found = told(repo, f"--delete-commit={lost[1]}", "--static-deltas-only")
    assert list(found.values()) == ["as asked"]
    assert next(iter(found)).startswith("deltas/")


def test_items_as_json(repo: Path, tmp_path: Path) -> None:
    lost = commit(repo, tmp_path / "tree", None, "lost")
    command = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--dry-run", "-v", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    items = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(items) == report["objects_pruned"] == 4
    reason = "no ref or deployment leads to it"
    assert {"type": "commit", "name": f"{lost}.commit", "reason": reason} in items
    assert {item["type"] for item in items} == {"commit", "dirtree", "dirmeta", "file"}


def test_who_reads_slowly_holds_the_work_back_but_no_lock(repo: Path) -> None:
    """Nobody reads what is told, so the work rests: not under the exclusive lock, and not for ever."""
    count = 50_000
    lost = [f"{number % 256:02x}{number:062x}" for number in range(count)]
    for directory in {name[:2] for name in lost}:
        (repo / "objects" / directory).mkdir(exist_ok=True)
    for name in lost:
        os.mknod(f"{repo}/objects/{name[:2]}/{name[2:]}.filez")
    command = [COMMAND, "prune", f"--repo={repo}", "--refs-only", "-v"]
    with started(*command) as prune:
        assert prune.stdout is not None
        assert prune.stderr is not None
        held = _left_when_it_rests(repo)
        assert 0 < held < count
        with locked(repo):
            assert _left(repo) == held
        lines = sum("  " in line for line in prune.stderr)
        assert f"Deleted {count} objects" in prune.stdout.read()
    assert prune.returncode == 0
    assert lines == count
    assert _left(repo) == 0


def _left(repo: Path) -> int:
    return sum(1 for _ in repo.glob("objects/*/*"))


def _left_when_it_rests(repo: Path) -> int:
    seen = [_left(repo)]

    def is_resting() -> bool:
        seen.append(_left(repo))
        return seen[-1] == seen[-2] < seen[0]

    wait_until(is_resting)
    return seen[-1]
