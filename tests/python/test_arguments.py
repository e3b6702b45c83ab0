"""What the calls refuse: a wrong type by `TypeError`, what makes no sense by `ValueError`."""

from __future__ import annotations

import datetime as dt
import math
import os
from pathlib import Path
from typing import Any, Callable

import pytest

import ostree_sweep
from ostree_sweep import Keep, Policy
from support.samples import object_files, ostree

REPO: dict[str, list[Any]] = {
    "refs_only": ["yes", 1, None],
    "commit_only": ["no"],
    "depth": ["3", 1.5, True, None],
    "retain_branch_depth": ["main=1", [("main", 1)], {"main": "1"}, {"main": True}, {1: 1}],
    "only_branches": ["main", b"main", 3, [1], None, {"main": 1}],
    "exclude_refs": ["main", [None]],
    "protect_commits": ["0" * 64, [b"0"]],
    "keep_younger_than": [True, [2020]],
    "keep_unreferenced_younger_than": [b"yesterday"],
    "policy": [{"main": 1}, "policy.toml"],
    "delete_commit": [b"0", 1],
    "static_deltas_only": ["yes"],
}
WORK: dict[str, list[Any]] = {
    "max_freed": ["1G", 1.5, True],
    "dry_run": ["no", None],
    "impact": [None, 1],
    "jobs": ["2", 2.0, True],
    "unlinks_per_s": ["100", 0.5],
    "time_budget_s": ["60", True],
    "lock_timeout_s": ["5", False],
    "lock_slice_s": [None, "0.1"],
    "items": ["print", 1],
    "cancellable": [True, object(), lambda: False],
    "progress": ["print", 1],
}
SENSELESS: dict[str, list[Any]] = {
    "depth": [-2, -9, 2**32],
    "retain_branch_depth": [{"main": -2}],
    "keep_younger_than": ["rubbish", -1, math.nan, math.inf],
    "max_freed": [-1, 2**64],
    "free_until": [-1, 2**64, "110%", "1G", ""],
    "impact": ["gentle", ""],
    "jobs": [0, -1, 257, 10**30],
    "unlinks_per_s": [0, -1, 2**32],
    "time_budget_s": [-1, math.inf, math.nan],
    "lock_timeout_s": [math.inf, math.nan],
    "lock_slice_s": [0, -1, math.inf, math.nan],
}


def cases(refused: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}={value!r:.20}") for name in refused for value in refused[name]
    ]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a live commit and an orphaned one."""
    place = tmp_path_factory.mktemp("arguments")
    repo, tree = place / "repo", place / "tree"
    tree.mkdir()
    ostree("init", "--mode=archive", f"--repo={repo}")
    for content in ("dead", "live"):
        (tree / "file").write_text(content, encoding="utf-8")
        ostree("commit", f"--repo={repo}", "--branch=main", tree)
    return repo


@pytest.mark.parametrize(("name", "value"), cases({**REPO, **WORK}))
def test_a_wrong_type_is_a_type_error(repo: Path, name: str, value: object) -> None:
    before = object_files(repo)
    with pytest.raises(TypeError, match=f"^{name}"):
        ostree_sweep.prune(repo, **{name: value})  # type: ignore[arg-type]
    assert object_files(repo) == before


@pytest.mark.parametrize(("name", "value"), cases(SENSELESS))
def test_a_senseless_value_is_a_value_error(repo: Path, name: str, value: object) -> None:
    before = object_files(repo)
    with pytest.raises(ValueError, match=r"^Could not parse" if "than" in name else f"^{name}"):
        ostree_sweep.prune(repo, **{name: value})  # type: ignore[arg-type]
    assert object_files(repo) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"static_deltas_only": True}, "static_deltas_only needs delete_commit"),
    ],
)
def test_contradictions_are_told_by_the_arguments_names(
    repo: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        ostree_sweep.prune(repo, **options)


class BytesPath(os.PathLike[bytes]):
    """A path that is no text."""

    def __fspath__(self) -> bytes:
        """Some bytes."""
        return b"repo"


PATH_CALLS: dict[str, Callable[[Any], object]] = {
    "prune": ostree_sweep.prune,
    "cleanup": ostree_sweep.cleanup,
    "auto_cleanup": ostree_sweep.auto_cleanup,
    "plan": ostree_sweep.plan,
    "plan of a repository": lambda path: ostree_sweep.plan(repo=path),
    "apply": ostree_sweep.apply,
    "usage": ostree_sweep.usage,
    "usage of a sysroot": lambda path: ostree_sweep.usage(sysroot=path),
    "why": lambda path: ostree_sweep.why("main", path),
}


@pytest.mark.parametrize("call", PATH_CALLS.values(), ids=PATH_CALLS)
def test_what_is_no_path_is_refused(call: Callable[[Any], object]) -> None:
    for value in (3, b"/repo", BytesPath(), True, ["repo"]):
        with pytest.raises(TypeError, match=r"must be a str or os\.PathLike"):
            call(value)
    for senseless in ("", "a\0b", Path("a\0b")):
        with pytest.raises(ValueError, match="must not be empty or contain a null"):
            call(senseless)


@pytest.mark.parametrize("call", [ostree_sweep.cleanup, ostree_sweep.auto_cleanup])
@pytest.mark.parametrize(("name", "value"), cases(WORK))
def test_a_cleanup_refuses_the_same(
    tmp_path: Path, call: Callable[..., object], name: str, value: object
) -> None:
    """Also where no stamp asks for anything, so that a mistake shows at once."""
    ostree("admin", f"--sysroot={tmp_path}", "init-fs", tmp_path)
    with pytest.raises(TypeError, match=f"^{name}"):
        call(tmp_path, **{name: value})


def test_rules_are_refused_when_they_are_made() -> None:
    for depth in (-9, 2**32):
        with pytest.raises(ValueError, match=r"^depth"):
            Keep(depth=depth)
    with pytest.raises(TypeError, match=r"^depth"):
        Keep(depth="2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rubbish"):
        Keep(younger_than="rubbish")
    with pytest.raises(TypeError, match=r"^younger_than"):
        Keep(younger_than=[])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^refs\['main'\]"):
        Policy({"main": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"^refs"):
        Policy(["main"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^default"):
        Policy({}, default=3)  # type: ignore[arg-type]
    assert Keep(younger_than=dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)).as_tuple() == (-1, 1577836800)


def test_a_policy_stays_what_it_was_when_made() -> None:
    refs = {"main": Keep()}
    policy = Policy(refs)
    refs["main"] = Keep(0)
    assert policy.refs["main"] == Keep()
    assert hash(policy) == hash(Policy({"main": Keep()}))
    with pytest.raises(TypeError, match="can't be changed"):
        policy.refs["main"] = Keep(0)  # type: ignore[index]


def test_a_share_of_the_disk_is_text(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r'free_until must be .* such as "15%", not a float'):
        ostree_sweep.prune(tmp_path, free_until=0.15)  # type: ignore[arg-type]


def test_the_type_of_an_item_is_named(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="only_branches must be a collection of str, and one is of type int"):
        ostree_sweep.prune(tmp_path, only_branches=[1])  # type: ignore[list-item]
