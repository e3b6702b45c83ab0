"""Reports and errors survive pickling, and reports are what `--json` prints."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
from typing import TYPE_CHECKING, Any, Callable

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, CleanupReport, Failure, Progress, PruneReport, errors
from support.samples import COMMAND, ostree

if TYPE_CHECKING:
    from pathlib import Path

OBJECT_TYPES = ["commit", "dirmeta", "dirtree", "file", "file-xattrs", "file-xattrs-link", "payload-link"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a live commit and an orphaned one."""
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    ostree("init", "--mode=archive", f"--repo={repo}")
    for branch in ("live", "dead"):
        (tree / "file").write_text(branch, encoding="utf-8")
        ostree("commit", f"--repo={repo}", f"--branch={branch}", tree)
    ostree("refs", f"--repo={repo}", "--delete", "dead")
    return repo


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    sysroot = tmp_path / "sysroot"
    sysroot.mkdir()
    ostree("admin", f"--sysroot={sysroot}", "init-fs", sysroot)
    return sysroot


def as_json(*arguments: object) -> dict[str, object]:
    outcome = subprocess.run([COMMAND, *map(str, arguments), "--json"], check=True, capture_output=True)
    assert outcome.stderr == b""
    data = json.loads(outcome.stdout)
    assert isinstance(data, dict)
    return data


def fields(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def test_a_prune_counts_what_it_deletes(repo: Path) -> None:
    report = ostree_sweep.prune(repo, refs_only=True)

    assert not report.dry_run
    assert report.objects_pruned == 3  # commit, dirtree, file: the dirmeta is shared
    assert report.failures == ()
    assert list(report.by_type) == OBJECT_TYPES
    tallies = report.by_type.values()
    assert sum(tally.total for tally in tallies) == report.objects_total
    assert sum(tally.pruned for tally in tallies) == report.objects_pruned
    assert sum(tally.bytes_freed for tally in tallies) == report.bytes_freed > 0
    assert 0 <= report.exclusive_lock_longest_s <= report.exclusive_lock_total_s <= report.duration_s


def test_a_dry_run_gives_the_figures_of_the_real_one(repo: Path) -> None:
    planned = ostree_sweep.prune(repo, refs_only=True, dry_run=True)
    done = ostree_sweep.prune(repo, refs_only=True)

    assert planned.dry_run
    assert planned.exclusive_lock_total_s == 0
    same = ("objects_total", "objects_pruned", "bytes_freed", "by_type", "deltas_pruned")
    assert [getattr(planned, name) for name in same] == [getattr(done, name) for name in same]


def test_names_are_the_pruned_objects(repo: Path) -> None:
    before = set(repo.glob("objects/??/*"))
    names: list[str] = []
    ostree_sweep.prune(repo, refs_only=True, items=lambda item: names.append(item.name))

    gone = before - set(repo.glob("objects/??/*"))
    assert sorted(names) == sorted(path.parent.name + path.name.replace(".filez", ".file") for path in gone)


def test_reports_are_frozen_and_picklable(repo: Path) -> None:
    report = ostree_sweep.prune(repo, refs_only=True)
    assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 - our own pickle
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.objects_pruned = 0  # type: ignore[misc]


def test_nothing_in_a_report_can_be_changed(repo: Path) -> None:
    report = ostree_sweep.prune(repo, refs_only=True)
    tallies: Any = report.by_type
    before = repr(report)
    changes: list[Callable[[], object]] = [
        lambda: tallies.update(commit=1),
        lambda: tallies.__setitem__("commit", 1),
        lambda: tallies.__delitem__("commit"),
        lambda: tallies.__ior__({"commit": 1}),
        lambda: tallies.setdefault("more", 1),
        lambda: tallies.pop("commit"),
        tallies.popitem,
        tallies.clear,
    ]
    for change in changes:
        with pytest.raises(TypeError, match="can't be changed"):
            change()
    assert repr(report) == before


@pytest.mark.parametrize("name", ["prune", "plan", "usage", "why"])
def test_results_are_values(repo: Path, name: str) -> None:
    """They can be copied, pickled, compared, hashed and told as JSON."""
    calls: dict[str, Callable[[], Any]] = {
        "prune": lambda: ostree_sweep.prune(repo, refs_only=True, dry_run=True),
        "plan": lambda: ostree_sweep.plan(repo=repo, refs_only=True),
        "usage": lambda: ostree_sweep.usage(repo),
        "why": lambda: ostree_sweep.why("live", repo),
    }
    result = calls[name]()
    for same in (
        pickle.loads(pickle.dumps(result)),  # noqa: S301 - our own pickle
        copy.copy(result),
        copy.deepcopy(result),
        dataclasses.replace(result),
    ):
        assert same == result
        assert hash(same) == hash(result)
        assert repr(same) == repr(result)
        assert same.to_dict() == result.to_dict()
    data = result.to_dict()
    assert json.loads(json.dumps(data)) == data
    changed = dataclasses.replace(result, **{dataclasses.fields(result)[1].name: None})
    assert changed != result


def test_to_dict_is_what_json_prints(repo: Path) -> None:
    plan = repo.parent / "plan"
    made = ostree_sweep.plan(repo=repo, refs_only=True, output=plan)
    assert as_json("plan", f"--show={plan}") == made.to_dict()
    where = {"repo": str(repo)}
    assert as_json("du", f"--repo={repo}") == {**where, **ostree_sweep.usage(repo).to_dict()}
    assert as_json("why", "live", f"--repo={repo}") == {**where, **ostree_sweep.why("live", repo).to_dict()}


def test_the_report_of_a_cancelled_cleanup_is_a_cleanups(sysroot: Path) -> None:
    token = CancellationToken()

    def cancel(progress: Progress) -> None:
        if progress.phase == "sweep":
            token.cancel()

    ostree("commit", f"--repo={sysroot}/ostree/repo", "--orphan", "--tree=dir=/usr/share/misc")
    with pytest.raises(errors.OperationCancelled) as raised:
        ostree_sweep.cleanup(sysroot, cancellable=token, progress=cancel, unlinks_per_s=5)
    report = raised.value.report
    assert isinstance(report, CleanupReport)
    assert report.deployments_removed == ()
    assert pickle.loads(pickle.dumps(raised.value)).report == report  # noqa: S301 - our own pickle


def test_a_cleanup_report_is_picklable(sysroot: Path) -> None:
    for report in (ostree_sweep.auto_cleanup(sysroot), ostree_sweep.cleanup(sysroot)):
        assert pickle.loads(pickle.dumps(report)) == report  # noqa: S301 - our own pickle


def test_prune_json_has_the_reports_fields(repo: Path) -> None:
    data = as_json("prune", f"--repo={repo}", "--refs-only", "--dry-run")
    report = ostree_sweep.prune(repo, refs_only=True, dry_run=True).to_dict()

    assert list(data) == fields(PruneReport)
    for name in [name for name in data if name.endswith("_s")]:
        del data[name], report[name]
    assert data == report


@pytest.mark.parametrize("auto", [[], ["--auto"]])
def test_cleanup_json_has_the_reports_fields(sysroot: Path, auto: list[str]) -> None:
    data = as_json("cleanup", *auto, f"--sysroot={sysroot}")
    assert list(data) == fields(CleanupReport)
    assert data["ran"] is (not auto)
    assert list(data["by_type"]) == OBJECT_TYPES  # type: ignore[call-overload]


def test_errors_are_picklable(repo: Path) -> None:
    report = dataclasses.replace(ostree_sweep.prune(repo), failures=(Failure("objects/00", "busy"),))
    for error in (
        errors.CorruptRepoError("object is missing", "00.dirtree"),
        errors.LockTimeoutError(11, "cannot lock", "/repo/.lock"),
        errors.NotARepoError(2, "no repository", "/repo"),
        errors.PartialCleanupError(report),
        errors.OperationCancelled(report),
        errors.OperationCancelled(),
    ):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own pickle
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)
