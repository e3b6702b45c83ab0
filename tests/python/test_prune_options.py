"""The options of `ostree-sweep prune`, one by one, beside `ostree prune`'s where it has them."""

from __future__ import annotations

import copy
import datetime as dt
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Callable

import pytest

import ostree_sweep
from ostree_sweep import Keep, Policy
from ostree_sweep.retention import seconds
from support.workshop import (
    EPOCH,
    Commit,
    Description,
    Workshop,
    deltas,
    listing,
    objects,
    ostree,
    write_ref,
)

COMMAND = Path(sys.executable).parent / "ostree-sweep"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def repo(workshop: Workshop) -> Path:
    """Four commits on `main`, an hour apart, and two on `dev`."""
    commits = [Commit("main", (number % 3, 0, 0), number, orphan=False) for number in range(4)]
    commits += [Commit("dev", (0, 1, number), number, orphan=False) for number in range(2)]
    description = Description(tuple(commits), frozenset(), frozenset(), None, None, None, partial=False)
    return workshop.build(description, "archive").path


def sweep(repo: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "prune", f"--repo={repo}", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def commits(repo: Path, ref: str = "main") -> list[str]:
    """The commits of a history that are there, the newest first."""
    found, commit = [], (repo / "refs/heads" / ref).read_text().strip()
    while f"{commit}.commit" in objects(repo):
        found.append(commit)
        shown = ostree(repo, "show", commit)
        parents = [line.split()[1] for line in shown.splitlines() if line.startswith("Parent:")]
        if not parents:
            break
        commit = parents[0]
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        ["--refs-only"],
        ["--refs-only", "--depth=1"],
        ["--refs-only", "--depth=0", "--no-prune"],
        ["--commit-only", "--refs-only", "--depth=0"],
        ["--keep-younger-than=2020-09-13 13:30:00 +0000"],
        ["--only-branch=dev", "--depth=0"],
        ["--retain-branch-depth=main=2", "--depth=0"],
        ["--static-deltas-only"],
        ["--only-branch=absent", "--depth=0"],
        ["--keep-younger-than=rubbish"],
        ["--keep-younger-than=now", "--retain-branch-depth=main"],
        ["--keep-younger-than=now", "--retain-branch-depth=main=BACON"],
        ["--delete-commit={head}"],
        ["--depth=many"],
        ["--unknown"],
    ],
)
def test_lines_and_statuses_are_those_of_ostree(workshop: Workshop, repo: Path, arguments: list[str]) -> None:
    theirs = workshop.copy(repo)
    given = [argument.format(head=commits(repo)[0]) for argument in arguments]
    done = sweep(repo, *given)
    expected = subprocess.run(
        ["ostree", "prune", f"--repo={theirs}", *given], check=False, capture_output=True, text=True
    )
    assert done.stdout == expected.stdout
    assert (done.returncode != 0) == (expected.returncode != 0)
    assert bool(done.stderr) == bool(expected.stderr)
    if expected.returncode:
        # Scripts match on what is wrong, which is the last thing said there; the version's link is not ours.
        said = expected.stderr.strip().splitlines()[-1].removeprefix("error: ").split(";")[0]
        if "Unknown option" not in said and "Cannot parse" not in said:
            assert said in done.stderr
    assert objects(repo) == objects(theirs)


@pytest.mark.parametrize(
    "date",
    [
        "1 week ago",
        "October 25 1985",
        "October 25 1985 21:21",
        "2015-10-29 12:43:29 +0000",
        "2013-01-01",
        "2013-01-01T10:00:00Z",
        "Thu, 01 Jan 2015 10:00:00 +0100",
        "@1234567",
        "yesterday",
        "last Monday",
        "3 months ago",
        "now",
    ],
)
def test_dates_are_read_as_gnu_date_reads_them(date: str) -> None:
    expected = subprocess.run(["date", "-d", date, "+%s"], check=True, capture_output=True, text=True)
    # The second may change in between.
    assert abs(seconds(date) - int(expected.stdout)) <= 1


def test_dates_may_be_numbers_and_datetimes() -> None:
    assert seconds(12) == 12
    assert seconds(dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)) == 1577836800
    for bad in ("rubbish", -1, "1900-01-01"):
        with pytest.raises(ValueError, match="Could not parse"):
            seconds(bad)


def test_dates_in_the_future_are_refused(repo: Path) -> None:
    """Nothing is younger, so all but the newest commits would go."""
    before = objects(repo)
    for option in ("--keep-younger-than", "--keep-unreferenced-younger-than"):
        done = sweep(repo, "--refs-only", f"{option}=2 weeks")
        assert done.returncode == 2
        assert re.search(r"'2 weeks' is 2\d{3}-.*, in the future; did you mean '2 weeks ago'\?", done.stderr)
    assert sweep(repo, "--keep-younger-than=tomorrow", "--no-prune").returncode == 2
    ahead = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=1)
    for later in (ahead, ahead.timestamp(), 2**62):
        with pytest.raises(ValueError, match="in the future"):
            ostree_sweep.prune(repo, keep_younger_than=later)
    assert objects(repo) == before


def test_delete_commit_leaves_a_tombstone(workshop: Workshop, repo: Path) -> None:
    middle = commits(repo)[1]
    theirs = workshop.copy(repo)
    done = sweep(repo, f"--delete-commit={middle}")
    expected = ostree(theirs, "prune", f"--delete-commit={middle}")
    # There the commit is deleted before the counting begins.
    assert done.returncode == 0
    assert "Deleted" in expected
    assert objects(repo) == objects(theirs)
    tombstone = f"objects/{middle[:2]}/{middle[2:]}.tombstone-commit"
    assert (repo / tombstone).read_bytes() == (theirs / tombstone).read_bytes()
    assert "tombstone-commits=true" in (repo / "config").read_text()
    ostree(repo, "fsck", "--quiet")

    again = sweep(repo, f"--delete-commit={middle}")
    assert again.returncode == 1
    assert f"{middle}.commit" in again.stderr


def test_a_dry_run_tells_what_the_deletion_of_a_commit_frees(repo: Path) -> None:
    """`ostree` refuses to tell it. What goes is a commit in the middle, with the deltas that lead to it."""
    middle = commits(repo)[1]
    ostree(repo, "static-delta", "generate", "--empty", f"--to={middle}")
    words = ["ostree", f"--repo={repo}", "prune", f"--delete-commit={middle}", "--no-prune"]
    refused = subprocess.run(words, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "Cannot specify both --delete-commit and --no-prune" in refused.stderr
    before = objects(repo)
    told = sweep(repo, f"--delete-commit={middle}", "--dry-run")
    assert told.returncode == 0
    assert objects(repo) == before
    assert "tombstone-commits" not in (repo / "config").read_text()
    total, would_delete, deltas = told.stdout.splitlines()
    done = sweep(repo, f"--delete-commit={middle}").stdout.splitlines()
    freed = would_delete.replace("Would delete: ", "Deleted ").replace("freeing ", "")
    assert done == [total, f"{freed} freed", "Deleted 1 static deltas"]
    assert deltas == "Would delete 1 static deltas"


def test_a_commit_inside_of_a_history_is_deleted_with_a_warning(workshop: Workshop, repo: Path) -> None:
    """Which is right about what a prune by refs deletes then, and about how to keep it."""
    newest, middle, *older = commits(repo)
    assert older
    ostree(repo, "refs", "--create=another", "main")
    for options in (["--dry-run"], []):
        warning = sweep(repo, f"--delete-commit={middle}", *options).stderr
        assert f"without commit {middle} the history ends at {newest}" in warning
        assert "another and 1 other ref" in warning
        assert f"deletes {len(older)} older commit" in warning
    mine = workshop.copy(repo)
    assert ostree_sweep.prune(mine, refs_only=True, dry_run=True).by_type["commit"].pruned == len(older)
    ostree(mine, *re.findall("'ostree (.*)'", warning)[-1].replace("NAME", "kept").split())
    assert ostree_sweep.prune(mine, refs_only=True, dry_run=True).by_type["commit"].pruned == 0


def test_what_a_ref_keeps_is_not_counted_as_cut_off(repo: Path) -> None:
    newest, middle, *older = commits(repo)
    ostree(repo, "refs", "--create=kept", older[0])
    warning = sweep(repo, f"--delete-commit={middle}").stderr
    assert warning == f"warning: main: without commit {middle} the history ends at {newest}\n"
    assert ostree_sweep.prune(repo, refs_only=True, dry_run=True).by_type["commit"].pruned == 0


def test_a_commit_of_no_history_is_deleted_without_a_warning(repo: Path) -> None:
    lost = ostree(repo, "commit", "--orphan", f"--parent={commits(repo)[0]}", "--tree=ref=main").strip()
    done = sweep(repo, f"--delete-commit={lost}")
    assert (done.returncode, done.stderr) == (0, "")


def test_tombstones_are_left_by_every_prune_that_wants_them(workshop: Workshop, repo: Path) -> None:
    ostree(repo, "config", "set", "core.tombstone-commits", "true")
    theirs = workshop.copy(repo)
    ostree_sweep.prune(repo, refs_only=True, depth=0)
    ostree(theirs, "prune", "--refs-only", "--depth=0")

    def tombstones(path: Path) -> set[str]:
        return {str(found.relative_to(path)) for found in path.rglob("*.tombstone-commit")}

    assert len(tombstones(repo)) == 4
    assert tombstones(repo) == tombstones(theirs)


def test_only_the_deltas_of_a_commit_go(repo: Path) -> None:
    tip, parent = commits(repo)[:2]
    ostree(repo, "static-delta", "generate", "--empty", f"--to={tip}")
    ostree(repo, "static-delta", "generate", f"--from={parent}", f"--to={tip}")
    ostree(repo, "static-delta", "generate", "--empty", f"--to={parent}")
    assert len(deltas(repo)) == 3
    report = ostree_sweep.prune(repo, delete_commit=tip, static_deltas_only=True)
    assert (report.deltas_pruned, report.objects_pruned) == (2, 0)
    assert len(deltas(repo)) == 1
    report = ostree_sweep.prune(repo, refs_only=True, depth=0, dry_run=True)
    assert (report.deltas_pruned, len(deltas(repo))) == (1, 1)
    ostree_sweep.prune(repo, refs_only=True, depth=0)
    assert deltas(repo) == set()


def test_delta_indexes_go_with_their_commits(repo: Path) -> None:
    parent = commits(repo)[1]
    for commit in commits(repo)[:2]:
        ostree(repo, "static-delta", "generate", "--empty", f"--to={commit}")
    ostree(repo, "static-delta", "reindex")
    assert len(list((repo / "delta-indexes").rglob("*.index"))) == 2
    ostree_sweep.prune(repo, refs_only=True, depth=0)
    assert len(list((repo / "delta-indexes").rglob("*.index"))) == 1
    assert f"{parent}.commit" not in objects(repo)


def test_protected_commits_stay_with_all_they_reach(repo: Path) -> None:
    middle = commits(repo)[2]
    assert sweep(repo, "--refs-only", "--depth=0", f"--protect-commit={middle}").returncode == 0
    ostree(repo, "fsck", "--quiet")
    ostree(repo, "ls", "-R", middle)
    assert len([name for name in objects(repo) if name.endswith(".commit")]) == 3
    missing = sweep(repo, "--refs-only", f"--protect-commit={'0' * 64}")
    assert missing.returncode == 1
    assert sweep(repo, "--refs-only", "--protect-commit=word").returncode == 2


def test_commits_to_protect_may_come_from_a_list(repo: Path, tmp_path: Path) -> None:
    kept = commits(repo)[1:3]
    listed = tmp_path / "listed"
    listed.write_text(f"# what is kept elsewhere\n\n{kept[0]}\n  {kept[1]} # and this\n")
    before = objects(repo)
    for wrong, status in ((f"{'0' * 64}\n", 1), ("word\n", 2), (f"{kept[0]} {kept[1]}\n", 2)):
        (tmp_path / "wrong").write_text(f"{kept[0]}\n{wrong}")
        done = sweep(repo, "--refs-only", "--depth=0", f"--protect-commits-from={tmp_path}/wrong")
        assert (done.returncode, wrong.strip() in done.stderr) == (status, True)
    assert objects(repo) == before
    command = [
        str(COMMAND),
        "prune",
        f"--repo={repo}",
        "--refs-only",
        "--depth=0",
        "--protect-commits-from=-",
    ]
    piped = subprocess.run(command, input=listed.read_bytes(), check=False, capture_output=True)
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert {f"{commit}.commit" for commit in kept} <= objects(repo)
    left = objects(repo)
    assert sweep(repo, "--refs-only", "--depth=0", f"--protect-commits-from={listed}").returncode == 0
    assert objects(repo) == left
    assert len([name for name in left if name.endswith(".commit")]) == 4


def test_excluded_refs_keep_their_history(repo: Path) -> None:
    assert sweep(repo, "--refs-only", "--depth=0", "--exclude-ref=main").returncode == 0
    assert (len(commits(repo, "main")), len(commits(repo, "dev"))) == (4, 1)
    unknown = sweep(repo, "--refs-only", "--exclude-ref=absent")
    assert (unknown.returncode, unknown.stderr) == (1, "error: Refspec 'absent' not found\n")


@pytest.mark.parametrize(
    ("arguments", "policy_text"),
    [
        (["--only-branch=mian", "--depth=0"], None),
        (["--exclude-ref=mian", "--refs-only", "--depth=0"], None),
        (["--exclude-ref=mi*", "--refs-only", "--depth=0"], None),
        (["--retain-branch-depth=mian=-1", "--depth=0", "--strict"], None),
        ([], "[default]\ndepth = 0\n[refs.mian]\nprotect = true"),
        ([], "[default]\ndepth = 0\n[refs.'mi*']\nprotect = true"),
    ],
)
def test_a_name_that_matches_no_ref_stops_the_run(
    repo: Path, tmp_path: Path, arguments: list[str], policy_text: str | None
) -> None:
    before = objects(repo)
    if policy_text is not None:
        arguments = [f"--policy={policy(tmp_path / 'policy.toml', policy_text)}"]
    for more in ([], ["--no-prune"]):
        done = sweep(repo, *arguments, *more)
        assert done.returncode == 1
        assert "mi" in done.stderr
        assert ("did you mean 'main'?" in done.stderr) == ("mian" in done.stderr)
    assert objects(repo) == before


def test_the_calls_stop_at_such_names_too(repo: Path) -> None:
    before = objects(repo)
    for options in (
        {"retain_branch_depth": {"mian": 1}},
        {"only_branches": ["mian"]},
        {"exclude_refs": ["mian"]},
        {"policy": Policy({"mian": Keep()}, Keep(0))},
    ):
        for call in (ostree_sweep.prune, lambda path, **rest: ostree_sweep.plan(repo=path, **rest)):
            with pytest.raises(
                ostree_sweep.UnknownRefError, match="'mian' not found; did you mean 'main'"
            ) as unknown:
                call(repo, **options)
            assert (unknown.value.name, isinstance(unknown.value, LookupError)) == ("mian", True)
            assert "optional = true" not in str(unknown.value)
    assert objects(repo) == before


@pytest.mark.parametrize("name", ["0" * 64, "0000"])
def test_the_calls_name_a_commit_that_is_not_there(repo: Path, name: str) -> None:
    before = objects(repo)
    for call in (
        lambda: ostree_sweep.prune(repo, protect_commits=[name]),
        lambda: ostree_sweep.plan(repo=repo, protect_commits=[name]),
        lambda: ostree_sweep.prune(repo, delete_commit=name),
    ):
        with pytest.raises(ostree_sweep.UnknownRefError) as unknown:
            call()
        assert unknown.value.name == name
        assert name in str(unknown.value)
        assert copy.copy(unknown.value).name == name
    assert objects(repo) == before


def test_a_depth_for_no_branch_is_a_warning_as_ostree_goes_on(repo: Path) -> None:
    done = sweep(repo, "--retain-branch-depth=mian=-1", "--depth=0")
    assert done.returncode == 0
    assert done.stderr == "warning: Refspec 'mian' not found; did you mean 'main'?\n"
    report = ostree_sweep.prune(repo, retain_branch_depth={"mian": -1}, strict=False, dry_run=True)
    assert report.warnings == ("Refspec 'mian' not found; did you mean 'main'?",)


def test_a_rule_may_be_optional(repo: Path, tmp_path: Path) -> None:
    text = "[default]\ndepth = 0\n[refs.absent]\nprotect = true\noptional = true\n[refs.main]\nprotect = true"
    assert sweep(repo, f"--policy={policy(tmp_path / 'policy.toml', text)}").returncode == 0
    assert (len(commits(repo, "main")), len(commits(repo, "dev"))) == (4, 1)


def nested(repo: Path) -> None:
    """The four commits of `main` as `os/a/stable`, `os/a/b/stable` and a remote's `os/a/stable`."""
    tip = commits(repo)[0]
    for name in ("heads/os/a/stable", "heads/os/a/b/stable", "remotes/origin/os/a/stable"):
        write_ref(repo, name, tip)
    (repo / "refs/heads/main").unlink()


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--exclude-ref=os/*"], None),
        (["--exclude-ref=os/*/stable"], 4),
        (["--exclude-ref=os/a/b/*"], 4),
        (["--exclude-ref=*:os/**"], 4),
        (["--exclude-ref=d*"], 1),
    ],
)
def test_patterns_match_as_people_know_them(repo: Path, options: list[str], left: int | None) -> None:
    nested(repo)
    done = sweep(repo, "--refs-only", "--depth=0", *options)
    if left is None:
        assert (done.returncode, done.stderr) == (1, "error: Pattern 'os/*' matches no ref\n")
    else:
        assert done.returncode == 0
        assert len(commits(repo, "os/a/stable")) == left


def test_only_branches_may_be_a_pattern(repo: Path) -> None:
    assert sweep(repo, "--only-branch=d*", "--depth=0").returncode == 0
    assert (len(commits(repo, "main")), len(commits(repo, "dev"))) == (4, 1)


def test_the_most_specific_rule_of_a_policy_wins(repo: Path, tmp_path: Path) -> None:
    (repo / "refs/heads/os").mkdir()
    (repo / "refs/heads/main").rename(repo / "refs/heads/os/main")
    text = """
        [refs."**"]
        keep-last = 1
        [refs."os/*"]
        keep-last = 2
        [refs."os/m*"]
        keep-last = 3
        """
    file = policy(tmp_path / "policy.toml", text)
    check = subprocess.run(
        [COMMAND, "policy", f"--check={file}", f"--repo={repo}", "--json"], check=True, capture_output=True
    )
    assert json.loads(check.stdout)["pruned"] == 2
    rules = {
        each["name"]: (each["rule"], each["kept"], each["pruned"])
        for each in json.loads(check.stdout)["refs"]
    }
    assert rules == {"os/main": ("os/m*", 3, 1), "dev": ("**", 1, 1)}
    assert sweep(repo, f"--policy={file}").returncode == 0
    assert (len(commits(repo, "os/main")), len(commits(repo, "dev"))) == (3, 1)


@pytest.fixture
def aliased(repo: Path) -> Path:
    """The same with `alias/main`, and `same`, which holds the commit of `main` by itself."""
    ostree(repo, "refs", "--alias", "--create=alias/main", "main")
    write_ref(repo, "heads/same", commits(repo)[0])
    return repo


@pytest.mark.parametrize("name", ["main", "alias/main", "alias/*"])
def test_a_ref_and_its_aliases_are_one_branch(aliased: Path, tmp_path: Path, name: str) -> None:
    (aliased / "refs/heads/same").unlink()
    file = policy(tmp_path / "policy.toml", f"[default]\nprotect = true\n[refs.'{name}']\nkeep-last = 3")
    check = subprocess.run(
        [COMMAND, "policy", f"--check={file}", f"--repo={aliased}", "--json"], check=True, capture_output=True
    )
    assert [each["pruned"] for each in json.loads(check.stdout)["refs"]] == [1, 0, 1]
    for options, left in (
        ([f"--policy={file}"], 3),
        ([f"--retain-branch-depth={name}=1", "--depth=3"], 2),
        ([f"--only-branch={name}", "--depth=0"], 1),
    ):
        done = sweep(aliased, *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert (len(commits(aliased)), len(commits(aliased, "dev"))) == (left, 2)


def test_two_refs_at_one_commit_are_two_branches(aliased: Path) -> None:
    assert sweep(aliased, "--only-branch=main", "--depth=0").returncode == 0
    assert len(commits(aliased)) == 4


def test_rules_that_are_equally_specific_are_an_error(repo: Path, tmp_path: Path) -> None:
    before = objects(repo)
    text = "[default]\ndepth = 0\n[refs.'ma*']\nkeep-last = 1\n[refs.'*in']\nkeep-last = 2"
    file = policy(tmp_path / "policy.toml", text)
    done = sweep(repo, f"--policy={file}")
    assert (done.returncode, "'ma*' and '*in'" in done.stderr) == (1, True)
    check = [str(COMMAND), "policy", f"--check={file}", f"--repo={repo}"]
    assert subprocess.run(check, check=False, capture_output=True).returncode == 1
    assert objects(repo) == before


def test_a_policy_is_checked_before_it_is_used(repo: Path, tmp_path: Path) -> None:
    file = policy(tmp_path / "policy.toml", "[default]\nkeep-last = 2\n[refs.dev]\nprotect = true")
    before = objects(repo)
    done = subprocess.run(
        [COMMAND, "policy", f"--check={file}", f"--repo={repo}"], check=True, capture_output=True, text=True
    )
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["Ref", "Rule", "Kept", "Pruned"],
        ["dev", "dev", "2", "0"],
        ["main", "[default]", "2", "2"],
        [],
        ["Would", "delete:", "2", "commits"],
    ]
    assert objects(repo) == before


def test_the_check_of_a_policy_tells_what_other_rules_keep(repo: Path, tmp_path: Path) -> None:
    """Of `main`, a rule keeps one commit of four, and a tag the two oldest; no ref leads to a fifth."""
    ostree(repo, "refs", "--create=tags/v2", commits(repo)[2])
    ostree(repo, "commit", "--orphan", "--tree=ref=dev")
    text = "[default]\nkeep-last = 1\n[refs.'tags/*']\nprotect = true"
    file = policy(tmp_path / "policy.toml", text)
    check = [str(COMMAND), "policy", f"--check={file}", f"--repo={repo}"]
    done = subprocess.run(check, check=True, capture_output=True, text=True)
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "Ref Rule Kept Pruned",
        "dev [default] 1 1",
        "main [default] 3 (2 by tags/v2) 1",
        "tags/v2 tags/* 2 0",
        "(no ref) - 0 1",
        "",
        "Would delete: 3 commits",
    ]
    told = json.loads(subprocess.run([*check, "--json"], check=True, capture_output=True).stdout)
    assert [each["kept_for"] for each in told["refs"]] == [{}, {"tags/v2": 2}, {}]
    assert (told["pruned"], told["unreferenced"]) == (3, 1)
    assert ostree_sweep.prune(repo, policy=Policy.load(file)).by_type["commit"].pruned == 3


def test_young_commits_stay_though_no_ref_leads_to_them(repo: Path) -> None:
    newest, *older = commits(repo)
    (repo / "refs/heads/main").unlink()
    past = EPOCH - 1000
    for commit in [newest, *older]:
        os.utime(repo / "objects" / commit[:2] / f"{commit[2:]}.commit", (past, past))
    # One came here lately, and one was made lately.
    arrived = older[2]
    os.utime(repo / "objects" / arrived[:2] / f"{arrived[2:]}.commit")
    made = f"@{EPOCH + 3 * 3600}"
    kept = {f"{commit}.commit" for commit in (newest, arrived)}
    dry = ostree_sweep.prune(repo, refs_only=True, keep_unreferenced_younger_than=made, dry_run=True)
    report = ostree_sweep.prune(repo, refs_only=True, keep_unreferenced_younger_than=made)
    assert dry.objects_pruned == report.objects_pruned > 0
    assert kept <= objects(repo)
    assert not {f"{commit}.commit" for commit in older[:2]} & objects(repo)
    ostree(repo, "fsck", "--quiet")


def test_max_freed_ends_a_prune_early(repo: Path) -> None:
    everything = ostree_sweep.prune(repo, refs_only=True, depth=0, dry_run=True)
    report = ostree_sweep.prune(repo, refs_only=True, depth=0, max_freed=everything.bytes_freed // 2, jobs=1)
    assert everything.bytes_freed // 2 <= report.bytes_freed < everything.bytes_freed
    ostree(repo, "fsck", "--quiet")
    rest = ostree_sweep.prune(repo, refs_only=True, depth=0)
    assert rest.objects_pruned == everything.objects_pruned - report.objects_pruned
    assert sweep(repo, "--max-freed=1M").returncode == 0
    for bad in ("--max-freed=much", "--max-freed=-1"):
        assert sweep(repo, bad).returncode == 2


def policy(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text))
    return path


def test_a_policy_rules_single_refs(repo: Path, tmp_path: Path) -> None:
    file = policy(
        tmp_path / "policy.toml",
        """
        [refs.main]
        keep-last = 2
        [refs.dev]
        protect = true
        """,
    )
    assert sweep(repo, f"--policy={file}").returncode == 0
    assert (len(commits(repo, "main")), len(commits(repo, "dev"))) == (2, 2)


def test_a_policy_may_have_a_default_and_dates(repo: Path, tmp_path: Path) -> None:
    file = policy(
        tmp_path / "policy.toml",
        f"""
        [default]
        depth = 0
        [refs.main]
        keep-younger-than = "@{EPOCH + 2 * 3600}"
        """,
    )
    assert Policy.load(file) == Policy({"main": Keep(0, f"@{EPOCH + 2 * 3600}")}, Keep(0))
    assert sweep(repo, f"--policy={file}").returncode == 0
    assert (len(commits(repo, "main")), len(commits(repo, "dev"))) == (2, 1)


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (
            "[refs.main]\nkeep-last = 1",
            1,
            "Ref 'dev' has no policy, and there is no default; "
            'add [default], or a rule such as [refs."dev"]',
        ),
        ("[refs.other]\nkeep-last = 1\noptional = true", 1, "Refs 'dev', 'main' have no policy"),
        ("[refs.main]\nkeep-last = 0", 2, "keep-last"),
        ("[refs.main]\ndepth = 'deep'", 2, "depth"),
        ("[refs.main]\ndepth = 1\nkeep-last = 1", 2, "one of"),
        ("[refs.main]\nprotect = true\nkeep-younger-than = 'now'", 2, "protects all"),
        ("[refs.main]\nkeep-younger-than = 'rubbish'", 2, "Could not parse 'rubbish'"),
        ("[refs.main]\nunknown = 1", 2, "unknown entry 'unknown'"),
        ("[refs.main]", 2, "says nothing"),
        ("[refs.main]\noptional = true", 2, "says nothing"),
        ("[refs.main]\ndepth = 1\noptional = 1", 2, "true or false"),
        ("[default]\ndepth = 1\noptional = true", 2, "unknown entry 'optional' in 'default'"),
        ("[refs.main]\nkeep-younger-than = 5", 2, "must be a date such as"),
        ("[refs.main]\nkeep-younger-than = 'tomorrow'", 2, "in the future"),
        ("[refs.main]\nkeep-younger-than = 2999-01-01T00:00:00Z", 2, "in the future"),
        ("[other]", 2, "unknown entry 'other'"),
        ("", 2, "a policy needs"),
        ("no toml", 2, "policy.toml"),
    ],
)
def test_a_policy_that_makes_no_sense(
    repo: Path, tmp_path: Path, text: str, status: int, reason: str
) -> None:
    before = objects(repo)
    done = sweep(repo, f"--policy={policy(tmp_path / 'policy.toml', text)}")
    assert (done.returncode, reason in done.stderr) == (status, True), done.stderr
    assert objects(repo) == before


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/dev/zero"), "neither a regular file nor a pipe"),
        (lambda path: path.mkdir(), "neither a regular file nor a pipe"),
        (
            lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 10 << 30),
            "larger than 1048576 bytes",
        ),
        (lambda path: path.write_text("a = " + "[" * 100_000), "nested too deeply"),
    ],
)
def test_a_policy_is_a_file_of_bounded_size(
    repo: Path, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "policy.toml")
    done = sweep(repo, f"--policy={tmp_path}/policy.toml", "--json")
    assert reason in json.loads(done.stdout)["error"]["message"]
    assert done.returncode in (1, 2)
    assert done.stderr == ""


def test_a_policy_may_come_through_a_pipe_and_waiting_for_it_can_be_cancelled(
    repo: Path, tmp_path: Path
) -> None:
    text = "[default]\nkeep-last = 1"
    command = f"'{COMMAND}' prune --repo='{repo}' --policy=<(sleep 0.3; printf '{text}')"
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 0
    assert len(commits(repo)) == 1
    os.mkfifo(tmp_path / "fifo")
    waiting = subprocess.Popen(
        [COMMAND, "prune", f"--repo={repo}", f"--policy={tmp_path}/fifo"], stderr=subprocess.PIPE, text=True
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=2)
    waiting.terminate()
    assert waiting.communicate(timeout=30)[1] == "error: the operation was cancelled\n"
    assert waiting.returncode == 143


@pytest.mark.needs_root
def test_root_is_warned_of_a_policy_that_others_can_change(repo: Path, tmp_path: Path) -> None:
    file = policy(tmp_path / "policy.toml", "[default]\nprotect = true")
    assert sweep(repo, f"--policy={file}").stderr == ""
    file.chmod(0o664)
    assert "others than root can change this policy" in sweep(repo, f"--policy={file}").stderr
    file.chmod(0o644)
    os.chown(file, 12345, 0)
    assert "others than root can change this policy" in sweep(repo, f"--policy={file}").stderr


@pytest.mark.parametrize(
    "option", ["--exclude-ref", "--only-branch", "--protect-commit", "--keep-younger-than", "--delete-commit"]
)
def test_arguments_that_are_not_utf8_are_an_error(repo: Path, option: str) -> None:
    command = [os.fsencode(COMMAND), b"prune", b"--repo=" + os.fsencode(repo), option.encode() + b"=\xff"]
    for more in ([], [b"--json"]):
        done = subprocess.run([*command, *more], check=False, capture_output=True)
        assert done.returncode == 2
        assert b"must be UTF-8, not '\\udcff'" in (
            done.stderr or json.loads(done.stdout)["error"]["message"].encode()
        )
    depth = [*command[:3], b"--retain-branch-depth=\xff=1", b"--json"]
    assert subprocess.run(depth, check=False, capture_output=True).returncode == 2


def test_a_policy_excludes_options_for_the_same(repo: Path, tmp_path: Path) -> None:
    file = policy(tmp_path / "policy.toml", "[default]\ndepth = 0")
    for other in (
        "--depth=1",
        "--keep-younger-than=now",
        "--only-branch=main",
        "--retain-branch-depth=main=1",
    ):
        assert sweep(repo, f"--policy={file}", other).returncode == 2
    assert sweep(repo, f"--policy={tmp_path}/absent").returncode == 1


def test_objects_of_a_parent_repository_are_left_alone(workshop: Workshop, repo: Path) -> None:
    """A child finds its commits' trees in the parent, and deletes only what is its own."""
    child = repo.parent / f"{repo.name}.child"
    ostree(child, "init", "--mode=archive")
    ostree(child, "config", "set", "core.parent", str(repo))
    tip, parent = commits(repo)[:2]
    own = repo.parent / f"{child.name}.tree"
    own.mkdir()
    (own / "file").write_text("the child's own")
    for number in range(2):
        (own / "changing").write_text(str(number))
        ostree(child, "commit", "-b", "own", f"--tree=ref={tip}", f"--tree=dir={own}")
    write_ref(child, "heads/from-parent", parent)
    theirs = workshop.copy(child)
    before = listing(repo)
    ostree_sweep.prune(child, refs_only=True, depth=0)
    ostree(theirs, "prune", "--refs-only", "--depth=0")
    assert objects(child) == objects(theirs)
    assert listing(repo) == before
    ostree(child, "fsck", "--quiet")

    # A loop of parents is no repository to prune.
    ostree(repo, "config", "set", "core.parent", str(child))
    with pytest.raises(ostree_sweep.UnsupportedRepoError, match="parent"):
        ostree_sweep.prune(child)


def test_split_attributes_go_with_their_files(repo: Path) -> None:
    """Libostree reads this mode; who writes it lays these objects beside the files, as is done here."""
    split = repo.parent / f"{repo.name}.split"
    ostree(split, "init", "--mode=bare-split-xattrs")
    tree = repo.parent / f"{repo.name}.tree"
    tree.mkdir()
    environment = {**os.environ, "OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS": "1"}

    def commit(branch: str, text: str) -> None:
        (tree / "file").write_text(text)
        subprocess.run(
            ["ostree", f"--repo={split}", "commit", "-b", branch, f"--tree=dir={tree}"],
            check=True,
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    commit("kept", "kept")
    live = {name for name in objects(split) if name.endswith(".file")}
    commit("dropped", "dropped")
    (dead,) = {name for name in objects(split) if name.endswith(".file")} - live
    (alive,) = live
    # No attributes at all are an empty array, which is no bytes.
    for file, content in ((alive, b""), (dead, b"others")):
        checksum = hashlib.sha256(content).hexdigest()
        attributes = split / "objects" / checksum[:2] / f"{checksum[2:]}.file-xattrs"
        attributes.parent.mkdir(exist_ok=True)
        attributes.write_bytes(content)
        os.link(attributes, split / "objects" / file[:2] / f"{file[2:]}-xattrs-link")
    (split / "refs/heads/dropped").unlink()

    dry = ostree_sweep.prune(split, refs_only=True, dry_run=True)
    report = ostree_sweep.prune(split, refs_only=True)
    assert dry.by_type == report.by_type
    for kind in ("file", "file-xattrs", "file-xattrs-link"):
        tally = report.by_type[kind]
        assert (tally.total, tally.pruned) == (2, 1), kind
    assert (split / "objects" / alive[:2] / f"{alive[2:]}-xattrs-link").exists()
    ostree(split, "fsck", "--quiet")


def test_payload_links(repo: Path) -> None:
    """A link to a live file of at least the threshold stays, and is not counted as freed; see `verdict`."""
    bare = repo.parent / f"{repo.name}.bare"
    ostree(bare, "init", "--mode=bare")
    tree = repo.parent / f"{repo.name}.links"
    tree.mkdir()
    (tree / "large").write_text("x" * 1000)
    (tree / "small").write_text("x")
    ostree(bare, "commit", "-b", "main", f"--tree=dir={tree}")
    files = [path for path in (bare / "objects").rglob("*.file") if path.is_file()]
    for number, file in enumerate(files):
        target = f"../{file.parent.name}/{file.name}"
        (file.parent / f"{number:062x}.payload-link").symlink_to(target)
    stale = files[0].parent / f"{9:062x}.payload-link"
    stale.symlink_to(f"../{'0' * 2}/{'0' * 62}.file")

    def links() -> int:
        return len(list((bare / "objects").rglob("*.payload-link")))

    ostree(bare, "config", "set", "core.payload-link-threshold", "500")
    dry = ostree_sweep.prune(bare, refs_only=True, dry_run=True)
    report = ostree_sweep.prune(bare, refs_only=True)
    assert dry.by_type == report.by_type
    assert (report.by_type["payload-link"].total, report.by_type["payload-link"].pruned) == (3, 2)
    assert links() == 1
    # Without a threshold all go.
    config = bare / "config"
    config.write_text(config.read_text().replace("threshold=500", "threshold=-1"))
    ostree_sweep.prune(bare, refs_only=True)
    assert links() == 0


def test_summaries_of_remotes_that_are_gone(repo: Path) -> None:
    ostree(repo, "remote", "add", "--no-gpg-verify", "known", "file:///nowhere")
    cache = repo / "tmp/cache/summaries"
    cache.mkdir(parents=True)
    for name in ("known", "known.sig", "gone", "gone.sig"):
        (cache / name).touch()
    ostree_sweep.prune(repo, dry_run=True)
    assert len(list(cache.iterdir())) == 4
    ostree_sweep.prune(repo)
    assert {path.name for path in cache.iterdir()} == {"known", "known.sig"}


def test_detached_metadata_goes_with_its_commit(repo: Path) -> None:
    tree = repo.parent / f"{repo.name}.signed"
    tree.mkdir()
    for number in range(2):
        (tree / "file").write_text(str(number))
        ostree(
            repo, "commit", "-b", "signed", f"--tree=dir={tree}", f"--add-detached-metadata-string=a={number}"
        )
    assert len(list(repo.rglob("*.commitmeta"))) == 2
    ostree_sweep.prune(repo, refs_only=True, depth=0)
    assert len(list(repo.rglob("*.commitmeta"))) == 1


def test_the_mark_of_a_partial_commit_goes_after_it(repo: Path) -> None:
    target = repo.parent / f"{repo.name}.partial"
    ostree(target, "init", "--mode=archive")
    ostree(target, "pull-local", "--commit-metadata-only", repo, "main")
    (mark,) = (target / "state").iterdir()
    ostree_sweep.prune(target, refs_only=True)
    assert mark.exists()
    ostree(target, "refs", "--delete", "main")
    # A pull that was interrupted may still find its commit here.
    staged = target / "tmp/staging-boot-X" / mark.name[:2]
    staged.mkdir(parents=True)
    (staged / f"{mark.name.split('.')[0][2:]}.commit").touch()
    ostree_sweep.prune(target, refs_only=True)
    assert objects(target) == set()
    assert mark.exists()
    shutil.rmtree(staged)
    ostree_sweep.prune(target, refs_only=True)
    assert not mark.exists()


def test_empty_repositories_and_those_without_mirrors(workshop: Workshop) -> None:
    for mode in ("bare", "archive"):
        empty = workshop.directory / f"empty-{mode}"
        ostree(empty, "init", f"--mode={mode}")
        (empty / "refs/mirrors").rmdir()
        assert ostree_sweep.prune(empty).objects_total == 0
        assert ostree_sweep.prune(empty, refs_only=True).objects_total == 0
        assert ostree_sweep.prune(empty, commit_only=True).objects_total == 0
        assert sweep(empty).stdout == ostree(empty, "prune")


@pytest.mark.needs_root
def test_a_dry_run_on_a_read_only_file_system(workshop: Workshop, repo: Path, tmp_path: Path) -> None:
    mount = tmp_path / "mounted"
    mount.mkdir()
    ostree(repo, "static-delta", "generate", "--empty", f"--to={commits(repo)[1]}")
    before = listing(repo)
    subprocess.run(["mount", "--bind", repo, mount], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
        dry = ostree_sweep.prune(mount, refs_only=True, depth=0, dry_run=True)
        refused = sweep(mount, "--refs-only", "--depth=0")
    finally:
        subprocess.run(["umount", mount], check=True)
    assert listing(repo) == before
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr
    real = ostree_sweep.prune(workshop.copy(repo), refs_only=True, depth=0)
    assert dry.by_type == real.by_type
    assert (dry.bytes_freed, dry.deltas_pruned) == (real.bytes_freed, real.deltas_pruned)
    assert real.objects_pruned > 0


def test_a_dry_run_changes_nothing_where_ostree_does(workshop: Workshop, repo: Path) -> None:
    """`ostree prune --no-prune` deletes static deltas; we don't even touch a timestamp."""
    parent = commits(repo)[1]
    ostree(repo, "static-delta", "generate", "--empty", f"--to={parent}")
    path = repo / "objects" / parent[:2] / f"{parent[2:]}.commit"
    path.unlink()
    theirs = workshop.copy(repo)
    ostree(theirs, "prune", "--no-prune")
    assert len(deltas(theirs)) < len(deltas(repo))
    before = listing(repo)
    assert ostree_sweep.prune(repo, dry_run=True).deltas_pruned == 1
    assert listing(repo) == before
