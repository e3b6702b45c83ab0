"""What holds the space: `du`, `why`, and what `status` makes of it, against what `ostree` frees."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ostree_sweep
from support.examples import examples
from support.repositories import (
    BRANCHES,
    MODES,
    REMOTE,
    Alias,
    Commit,
    Delete,
    Description,
    Directory,
    File,
    Pull,
    RemoteRef,
    Repository,
    build,
    commits,
    copy,
    descriptions,
    listing,
    objects,
    partial_commits,
    reached,
    refs,
    sizes,
)
from support.sysroots import BRANCH, COMMAND, Sysroot, locked, output

if TYPE_CHECKING:
    from collections.abc import Iterator


def spec(path: str) -> str:
    """A ref's name as `ostree` writes it, from its path below `refs`."""
    kind, _, name = path.partition("/")
    if kind == "heads":
        return name
    group, _, name = name.partition("/")
    return f"{group}:{name}" if kind == "remotes" else f"({group}, {name})"


def history(repo: Repository, commit: str, depth: int) -> list[str]:
    """The commits that a ref to `commit` keeps."""
    present, found = commits(repo.path), [commit]
    while depth != 0:
        parent = repo.parents[found[-1]]
        if parent is None or parent not in present:
            break
        found.append(parent)
        depth -= 1
    return found


def freed_by_ostree(path: Path, depth: int, *dropped: str) -> tuple[int, int]:
    """Prunes a copy without garbage, and then without some refs; what that frees."""
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        trial = copy(path, Path(place, "repo"))
        prune = ("ostree", f"--repo={trial}", "prune", "--refs-only", f"--depth={depth}")
        output(*prune)
        before = sizes(trial)
        for name in dropped:
            (trial / "refs" / name).unlink()
        output(*prune)
        gone = before.keys() - objects(trial)
    return len(gone), sum(before[name] for name in gone)


def whole_repositories() -> st.SearchStrategy[Description]:
    """Without partial commits, beside which `ostree` deletes too much."""

    def is_whole(step: object) -> bool:
        return not isinstance(step, Pull) or step.part == "whole"

    return descriptions().map(
        lambda made: Description(tuple(filter(is_whole, made.steps)), made.collection_id)
    )


@pytest.mark.parametrize("mode", MODES)
@examples(part=20)
@given(description=whole_repositories(), depth=st.sampled_from((-1, -1, 0)))
def test_what_a_ref_holds_alone_is_what_ostree_frees_without_it(
    mode: str, upstreams: dict[str, Repository], description: Description, depth: int
) -> None:
    with tempfile.TemporaryDirectory() as place:
        repo = build(description, Path(place, "repo"), mode, upstreams[mode])
        before = listing(repo.path)
        used = ostree_sweep.usage(repo.path, depth=depth)
        pruned = ostree_sweep.prune(repo.path, refs_only=True, depth=depth, dry_run=True)
        assert listing(repo.path) == before
        assert (used.garbage.objects, used.garbage.bytes) == (pruned.objects_pruned, pruned.bytes_freed)
        assert used.total.bytes == sum(sizes(repo.path).values())

        held = {(holder.kind, holder.name): holder for holder in used.holders}
        found = refs(repo.path)
        assert {name for kind, name in held if kind == "ref"} == set(map(spec, found))
        for name, commit in found.items():
            if f"heads/{Alias.prefix}{name.removeprefix('heads/')}" in found:
                continue  # without it, its alias would lead nowhere
            holder = held["ref", spec(name)]
            alone = holder.exclusive
            assert (alone.objects, alone.bytes) == freed_by_ostree(repo.path, depth, name)
            reaches = set()
            for each in history(repo, commit, depth):
                reaches |= {f"{each}.commit"} | reached(repo.path, each, objects(repo.path))
            assert alone.objects + holder.shared.objects == len(reaches)
        remote = [name for name in found if name.startswith(f"remotes/{REMOTE}/")]
        if remote:
            alone = held["remote", REMOTE].exclusive
            assert (alone.objects, alone.bytes) == freed_by_ostree(repo.path, depth, *remote)


@pytest.mark.parametrize("mode", ["bare-user", "archive"])
@examples(part=20)
@given(description=whole_repositories(), depth=st.sampled_from((-1, 0, 1)))
def test_why_names_every_ref_that_reaches_an_object_and_what_is_garbage(
    mode: str, upstreams: dict[str, Repository], description: Description, depth: int
) -> None:
    with tempfile.TemporaryDirectory() as place:
        repo = build(description, Path(place, "repo"), mode, upstreams[mode])
        items: list[ostree_sweep.PrunedItem] = []
        ostree_sweep.prune(repo.path, refs_only=True, depth=depth, dry_run=True, items=items.append)
        garbage = {item.name: item.reason for item in items}
        present = objects(repo.path)
        roots: dict[str, dict[str, set[str]]] = {}
        for name, commit in refs(repo.path).items():
            roots[spec(name)] = {
                each: {f"{each}.commit"} | reached(repo.path, each, present)
                for each in history(repo, commit, depth)
            }
        for name in present:
            found = ostree_sweep.why(name, repo.path, depth=depth)
            assert (found.object, found.place) == (name, "here")
            assert found.is_garbage == (name in garbage)
            if name.endswith(".commit") and name in garbage:
                assert bool(found.beyond_depth_of) == garbage[name].startswith("beyond depth")
            keepers = {root for root, by_commit in roots.items() if name in set().union(*by_commit.values())}
            assert {way.name for way in found.kept_by} == keepers
            for way in found.kept_by:
                assert name in roots[way.name][way.commit]
                assert list(roots[way.name])[way.generation] == way.commit
                assert (way.path is None) == name.endswith(".commit")


def test_ways_are_those_that_ostree_goes(tmp_path: Path) -> None:
    trees = [Directory((("usr", Directory((("bin", Directory((("a", File(text)),))),))),)) for text in "12"]
    repo = build(Description(tuple(Commit("main", tree) for tree in trees)), tmp_path / "repo", "archive")
    for generation, commit in enumerate(reversed(repo.commits)):
        for path in ("/usr/bin/a", "/usr/bin", "/usr"):
            kind, _, _, _, checksum, *_ = repo.ostree("ls", "-d", "-C", commit, path).split()
            name = f"{checksum}.{'dirtree' if kind.startswith('d') else 'file'}"
            (way,) = ostree_sweep.why(name, repo.path).kept_by
            assert (way.commit, way.generation, way.path) == (commit, generation, path)
    gone = ostree_sweep.why(repo.commits[0], repo.path, depth=0)
    assert gone.is_garbage
    assert gone.beyond_depth_of == ("main",)
    lost = ostree_sweep.why(
        repo.ostree("ls", "-C", repo.commits[0], "/usr/bin/a").split()[4], repo.path, depth=0
    )
    assert lost.dropped_with == (repo.commits[0],)


def test_objects_are_found_by_what_people_call_them(tmp_path: Path) -> None:
    tree = Directory((("a", File("1")),))
    repo = build(Description((Commit("os/test", tree),)), tmp_path / "repo", "archive")
    (commit,) = repo.commits
    for text in (commit, commit[:8], f"{commit[:8]}.commit", "os/test"):
        assert ostree_sweep.why(text, repo.path).object == f"{commit}.commit"
    file = next(name for name in objects(repo.path) if name.endswith(".file"))
    assert ostree_sweep.why(file.replace(".file", ".filez"), repo.path).object == file
    for text in ("", "a", "no/ref", f"{commit}.tree", f"{commit}0"):
        with pytest.raises(ostree_sweep.OstreeSweepError, match="is neither a ref nor an object"):
            ostree_sweep.why(text, repo.path)
    absent = ostree_sweep.why("0" * 64, repo.path)
    assert (absent.place, absent.kept_by, absent.is_garbage) == ("nowhere", (), False)


def test_a_beginning_that_several_objects_share_is_refused(tmp_path: Path) -> None:
    tree = Directory(tuple((chr(97 + number), File(str(number))) for number in range(26)))
    more = Directory(tuple((f"{number}", File(f"more {number}")) for number in range(400)))
    repo = build(Description((Commit("main", tree), Commit("main", more))), tmp_path / "repo", "archive")
    names = [name for name in objects(repo.path) if name.endswith(".file")]
    shared = next(name[:2] for name in names if sum(other[:2] == name[:2] for other in names) > 1)
    with pytest.raises(ostree_sweep.OstreeSweepError, match="could be"):
        ostree_sweep.why(f"{shared}.file", repo.path)


def test_what_lies_in_a_parent_only_is_said_to(tmp_path: Path) -> None:
    parent = build(
        Description((Commit("main", Directory((("a", File("1")),))),)), tmp_path / "up", "bare-user"
    )
    child = build(Description((Commit("other", Directory()),)), tmp_path / "down", "bare-user")
    with (child.path / "config").open("a", encoding="utf-8") as config:
        config.write(f"[core]\nparent={parent.path}\n")
    found = ostree_sweep.why(parent.commits[0], child.path)
    assert (found.place, found.parent, found.kept_by) == ("parent", str(parent.path), ())


def test_what_a_ref_needs_and_is_not_there(tmp_path: Path) -> None:
    tree = Directory((("b", Directory((("a", File("1")),))),))
    repo = build(Description((Commit("main", tree),)), tmp_path / "repo", "archive")
    checksum = repo.ostree("ls", "-d", "-C", "main", "/b").split()[4]
    (repo.path / "objects" / checksum[:2] / f"{checksum[2:]}.dirtree").unlink()
    found = ostree_sweep.why(f"{checksum}.dirtree", repo.path)
    assert (found.place, [way.path for way in found.kept_by]) == ("nowhere", ["/b"])
    with pytest.raises(ostree_sweep.CorruptRepoError, match=f"{checksum}.dirtree: it is missing"):
        ostree_sweep.usage(repo.path)


def test_looking_waits_for_nobody_and_writes_nothing(tmp_path: Path) -> None:
    steps = (Commit(BRANCHES[0], Directory((("a", File("1")),))), RemoteRef("x", 0), Delete(0))
    repo = build(Description(steps), tmp_path / "repo", "archive")
    assert not partial_commits(repo.path)
    lock = repo.path / ".lock"
    lock.touch()
    before = listing(repo.path)
    for call in (ostree_sweep.usage, lambda path, **rest: ostree_sweep.why("origin:x", path, **rest)):
        found = call(repo.path)
        with locked(lock):
            assert call(repo.path, lock_timeout_s=0) == found
    for command in (["du"], ["why", "origin:x"]):
        data = json.loads(output(COMMAND, *command, f"--repo={repo.path}", "--json"))
        assert data["repo"] == str(repo.path)
        shown = subprocess.run([COMMAND, *command, f"--repo={repo.path}"], capture_output=True, check=True)
        assert shown.stderr == b""
        assert b"\x1b" not in shown.stdout
    assert listing(repo.path) == before


@pytest.fixture
def updated(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot with three deployments, two of which live by themselves alone."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    for version in (1, 2, 3):
        sysroot.deploy(version, "--retain")
    yield sysroot
    sysroot.remove()


def status_of(sysroot: Sysroot) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output(COMMAND, "status", "--json", f"--sysroot={sysroot.path}"))
    return found


@pytest.mark.needs_root
def test_what_a_deployment_holds_alone_is_what_ostree_frees_without_it(
    updated: Sysroot, tmp_path: Path
) -> None:
    updated.admin("cleanup")
    deployments = status_of(updated)["deployments"]
    assert len(deployments) == 3
    for deployment in deployments:
        trial = updated.copy(tmp_path / f"trial-{deployment['index']}")
        before = sizes(trial.repo)
        trial.admin("undeploy", deployment["index"])
        trial.admin("cleanup")
        gone = before.keys() - objects(trial.repo)
        trial.remove()
        freed = {"objects": len(gone), "bytes": sum(before[name] for name in gone)}
        assert {key: deployment["exclusive"][key] for key in freed} == freed
        reached_objects = len(updated.objects_of(deployment["checksum"]))
        assert deployment["exclusive"]["objects"] + deployment["shared"]["objects"] == reached_objects
    assert sum(deployment["exclusive"]["bytes"] > 0 for deployment in deployments) == 2
    oldest = deployments[-1]
    (way,) = ostree_sweep.why(oldest["checksum"], sysroot=updated.path).kept_by
    assert way.kind == "deployment"
    assert way.name == f"os {oldest['checksum']}.0"


@pytest.mark.needs_root
def test_a_booted_and_a_staged_deployment(tmp_path: Path) -> None:
    """Nothing but the staged deployment holds its commit; what it holds is what goes when it's dropped."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    staged = sysroot.commit(3)
    sysroot.commit(9, "garbage")
    sysroot.ostree("refs", "--delete", "garbage")
    sweep = {
        "status": "status",
        "cleanup": "cleanup",
        "before": "du",
        "why": f"why {staged}",
        "running": f"why {booted}",
    }
    sysroot.boot(
        booted,
        f"ostree admin deploy --stage {BRANCH}; ostree refs --delete {BRANCH}\n"
        + "".join(f"{COMMAND} {command} --json >/var/{name}\n" for name, command in sweep.items())
        + f"ostree admin undeploy 0; ostree admin cleanup; {COMMAND} du --json >/var/after",
    )
    var = sysroot.path / "ostree/deploy/os/var"
    found = {name: json.loads((var / name).read_text(encoding="utf-8")) for name in (*sweep, "after")}
    sysroot.remove()

    status, cleanup = found["status"], found["cleanup"]
    assert [(each["checksum"], each["staged"], each["booted"]) for each in status["deployments"][:2]] == [
        (staged, True, False),
        (booted, False, True),
    ]
    assert cleanup["objects_pruned"] > 0
    told = status["reclaimable"]
    assert (told["objects"], told["bytes"]) == (cleanup["objects_pruned"], cleanup["bytes_freed"])
    (holder,) = [each for each in found["before"]["holders"] if each["commit"] == staged]
    assert (holder["kind"], holder["name"]) == ("deployment", f"os {staged}.0")
    gone = {key: found["before"]["total"][key] - found["after"]["total"][key] for key in ("objects", "bytes")}
    assert {key: holder["exclusive"][key] for key in gone} == gone
    assert gone["objects"] > 0
    for name, checksum in (("why", staged), ("running", booted)):
        ways = [(way["kind"], way["name"]) for way in found[name]["kept_by"]]
        assert ("deployment", f"os {checksum}.0") in ways
        assert not found[name]["is_garbage"]


@pytest.mark.needs_root
def test_status_names_who_holds_a_lock(updated: Sysroot) -> None:
    before = updated.listing()
    with locked(updated.repo / ".lock"):
        found = status_of(updated)
        lines = output(COMMAND, "status", f"--sysroot={updated.path}")
    (holder,) = found["lock_holders"]
    assert (holder["kind"], holder["pid"]) == ("exclusive", os.getpid())
    assert "pytest" in holder["command"]
    assert f"exclusive by {os.getpid()} (" in lines
    assert found["reclaimable"] == status_of(updated)["reclaimable"]
    assert updated.listing() == before


@pytest.mark.needs_root
def test_metrics_can_be_parsed_and_say_what_was_done(updated: Sysroot, tmp_path: Path) -> None:
    updated.admin("undeploy", 2)
    file = tmp_path / "sweep.prom"
    told = status_of(updated)
    output(COMMAND, "status", f"--sysroot={updated.path}", f"--metrics={file}")
    assert samples(file)["ostree_sweep_reclaimable_bytes"] == told["reclaimable"]["disk_bytes"]
    assert samples(file)["ostree_sweep_stamp_pending"] == 0
    done = json.loads(output(COMMAND, "cleanup", "--json", f"--sysroot={updated.path}", f"--metrics={file}"))
    found = samples(file)
    assert found["ostree_sweep_last_cleanup_freed_bytes"] == done["disk_bytes_freed"]
    assert found["ostree_sweep_last_cleanup_complete"] == 1
    for lock in ("exclusive", "shared", "sysroot"):
        for kind in ("longest", "total"):
            seconds = found[f"ostree_sweep_last_cleanup_{lock}_lock_{kind}_seconds"]
            assert seconds == done[f"{lock}_lock_{kind}_s"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.glob("*.prom")] == ["sweep.prom"]
    assert not list(tmp_path.glob(".ostree-sweep-*"))


@pytest.mark.needs_root
def test_metrics_that_cannot_be_written_change_no_outcome(updated: Sysroot, tmp_path: Path) -> None:
    updated.ostree("commit", "--orphan", "--tree=ref=" + BRANCH)
    file = tmp_path / "nowhere" / "sweep.prom"
    command = [str(COMMAND), "cleanup", f"--sysroot={updated.path}", f"--metrics={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Deleted " in done.stdout
    assert done.stderr == f"warning: cannot write {file}: No such file or directory\n"


def samples(file: Path) -> dict[str, float]:
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(file.read_text(encoding="utf-8"))
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_labels_are_escaped(tmp_path: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    from ostree_sweep.cli import metrics

    name = 'a "quoted"\\path\nof two lines'
    metrics.write(str(tmp_path / "file.prom"), name, [("stamp_pending", "Whether.", 1)])
    text = (tmp_path / "file.prom").read_text(encoding="utf-8")
    (family,) = text_string_to_metric_families(text)
    assert family.samples[0].labels == {"sysroot": name}
