"""The JSON schemas that come with the package: what each command prints follows its own, field by field."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from ostree_sweep import schemas
from ostree_sweep.cli.commands import COMMANDS
from support.sysroots import BRANCH, COMMAND, PROJECT, Sysroot, locked, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHIPPED = {
    file.name: json.loads(file.read_text(encoding="utf-8"))
    for file in files(schemas).iterdir()
    if file.name.endswith(".json")
}


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot that was updated, with the objects of an older version left behind."""
    sysroot = Sysroot.create(tmp_path / "sysroot", directories=2)
    sysroot.deploy(1)
    second = sysroot.deploy(2)
    sysroot.update(second, 3)
    yield sysroot
    sysroot.remove()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a live and an orphaned commit."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    output("ostree", "init", "--mode=bare-user", f"--repo={repo}")
    for branch in ("live", "dead"):
        (tree / "file").write_text(branch, encoding="utf-8")
        output("ostree", "commit", f"--repo={repo}", f"--branch={branch}", tree)
    output("ostree", "refs", f"--repo={repo}", "--delete", "dead")
    return repo


def closed(schema: Any) -> Any:
    """The schema with no field allowed but those that it describes."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in schema else inner


def follows(name: str, *arguments: object, status: int = 0) -> Any:
    """Runs a command with `--json`; what it prints has to follow a schema."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    data = json.loads(done.stdout)
    Draft202012Validator(closed(SHIPPED[f"{name}.json"])).validate(data)
    return data


def test_the_schemas_are_those_of_the_results_as_they_are(tmp_path: Path) -> None:
    """Else run `make schemas`."""
    output(sys.executable, PROJECT / "packaging" / "schemas.py", tmp_path)
    written = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()}
    assert written == SHIPPED


def test_each_command_has_a_schema() -> None:
    assert set(SHIPPED) == {f"{name}.json" for name in (*COMMANDS, "error")}
    for name, schema in SHIPPED.items():
        Draft202012Validator.check_schema(schema)
        assert schema["$id"] == f"urn:ostree-sweep:{name.removesuffix('.json')}:1"


@pytest.mark.needs_root
def test_outputs_about_a_sysroot_follow_their_schemas(sysroot: Sysroot, tmp_path: Path) -> None:
    at = f"--sysroot={sysroot.path}"
    follows("cleanup", "cleanup", "--auto", at)
    follows("status", "status", at)
    follows("stamp", "stamp", "--prepare", at)
    assert follows("stamp", "stamp", "--if-pending", at)["path"] is None
    assert follows("stamp", "stamp", at)["path"] is not None
    plan = tmp_path / "plan"
    assert follows("plan", "plan", at, f"--output={plan}")["objects"] > 0
    follows("apply", "apply", plan, "--dry-run")
    follows("plan", "plan", at)
    with locked(sysroot.repo / ".lock"):
        status = follows("status", "status", at)
    assert status["stamp"] is not None
    assert status["plan"] is not None
    assert status["lock_holders"] != []
    assert follows("du", "du", at)["holders"] != []
    assert follows("why", "why", BRANCH, at)["kept_by"] != []
    follows("cleanup", "cleanup", "--dry-run", at)
    assert follows("cleanup", "cleanup", at)["objects_pruned"] > 0
    assert follows("apply", "apply", "--auto", at)["ran"] is False


def test_outputs_about_a_repository_follow_their_schemas(repo: Path, tmp_path: Path) -> None:
    at, plan, policy = f"--repo={repo}", tmp_path / "plan", tmp_path / "policy.toml"
    policy.write_text('[refs."live"]\nkeep-last = 1\n', encoding="utf-8")
    follows("prune", "prune", at, "--refs-only", "--dry-run")
    follows("policy", "policy", at, f"--check={policy}")
    follows("du", "du", at)
    follows("status", "status", at)
    assert follows("why", "why", "live", at)["is_garbage"] is False
    made = follows("plan", "plan", at, "--refs-only", f"--output={plan}", "--verbose")
    assert len(made["names"]) == made["objects"] == 3
    assert follows("apply", "apply", plan)["by_plan"] is True


def test_what_is_installed_follows_its_schema(tmp_path: Path) -> None:
    command = tmp_path / "usr/bin/ostree-sweep"
    command.parent.mkdir(parents=True)
    command.symlink_to(COMMAND)
    follows("install-units", "install-units", f"--root={tmp_path}")


@pytest.mark.needs_root
def test_errors_follow_their_schema(repo: Path, tmp_path: Path) -> None:
    assert "report" not in follows("error", "prune", f"--repo={tmp_path}", status=1)
    live = output("ostree", "rev-parse", f"--repo={repo}", "live").strip()
    (dead,) = (path for path in repo.glob("objects/??/*.commit") if path.parent.name + path.stem != live)
    output("chattr", "+i", dead)
    try:
        failed = follows("error", "prune", f"--repo={repo}", "--refs-only", status=3)
    finally:
        output("chattr", "-i", dead)
    assert len(failed["report"]["failures"]) == 1
