"""What can't be understood stops a prune before the first unlink: a clear error, and not one file changed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable

import pytest

import ostree_sweep
from support.workshop import Commit, Description, Workshop, listing, objects, ostree, write_ref

COMMAND = Path(sys.executable).parent / "ostree-sweep"

# Damages a repository and returns what the error has to name.
Damage = Callable[[Path], str]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def repo(workshop: Workshop) -> Path:
    """Three commits on `main` and one on `dev`; with `--depth=0` there is garbage to delete."""
    commits = [Commit("main", (number, 0, 0), number, orphan=False) for number in range(3)]
    commits.append(Commit("dev", (0, 1, 1), 1, orphan=False))
    description = Description(tuple(commits), frozenset(), frozenset(), None, None, None, partial=False)
    built = workshop.build(description, "archive").path
    # Whoever locks first creates the lock file.
    ostree(built, "prune", "--no-prune")
    return built


def tip(repo: Path, branch: str = "main") -> str:
    return (repo / "refs/heads" / branch).read_text().strip()


def path_of(repo: Path, name: str) -> Path:
    return repo / "objects" / name[:2] / name[2:]


def live_tree(repo: Path) -> str:
    """A dirtree below the root of `dev`."""
    listed = ostree(repo, "ls", "-d", "--checksum", "dev", "/var").split()
    return (
        f"{listed[-3]}.dirtree"
        if len(listed[-2]) == 64 and len(listed[-3]) == 64
        else f"{listed[-2]}.dirtree"
    )


def missing_dirtree(repo: Path) -> str:
    name = live_tree(repo)
    path_of(repo, name).unlink()
    return name


def missing_dirmeta(repo: Path) -> str:
    names = [name for name in objects(repo) if name.endswith(".dirmeta")]
    path_of(repo, names[0]).unlink()
    return names[0]


def truncated_dirtree(repo: Path) -> str:
    name = live_tree(repo)
    path = path_of(repo, name)
    path.write_bytes(path.read_bytes()[:7])
    return name


def empty_dirtree(repo: Path) -> str:
    name = live_tree(repo)
    path_of(repo, name).write_bytes(b"")
    return name


def altered_dirtree(repo: Path) -> str:
    name = live_tree(repo)
    path = path_of(repo, name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return name


def swapped_dirtree(repo: Path) -> str:
    """A dirtree with the content of another one: well-formed, and wrong."""
    name = live_tree(repo)
    other = next(other for other in objects(repo) if other.endswith(".dirtree") and other != name)
    path_of(repo, name).write_bytes(path_of(repo, other).read_bytes())
    return name


def dirtree_is_a_directory(repo: Path) -> str:
    name = live_tree(repo)
    path_of(repo, name).unlink()
    path_of(repo, name).mkdir()
    return name


def dirtree_is_a_fifo(repo: Path) -> str:
    name = live_tree(repo)
    path_of(repo, name).unlink()
    os.mkfifo(path_of(repo, name))
    return name


def commit_cut_short(repo: Path) -> str:
    name = f"{tip(repo)}.commit"
    path = path_of(repo, name)
    path.write_bytes(path.read_bytes()[:50])
    return name


def ref_to_a_missing_commit(repo: Path) -> str:
    write_ref(repo, "heads/lost", "0" * 64)
    return "refs/heads/lost"


def ref_with_a_word(repo: Path) -> str:
    (repo / "refs/heads/dev").write_text("word\n")
    return "refs/heads/dev"


def ref_with_binary(repo: Path) -> str:
    (repo / "refs/heads/dev").write_bytes(b"\xff\xfe\x00")
    return "refs/heads/dev"


def empty_ref(repo: Path) -> str:
    (repo / "refs/heads/dev").write_text("")
    return "refs/heads/dev"


def ref_is_a_fifo(repo: Path) -> str:
    os.mkfifo(repo / "refs/heads/pipe")
    return "refs/heads/pipe"


def ref_is_a_loop(repo: Path) -> str:
    (repo / "refs/heads/loop").symlink_to("loop")
    return "refs/heads/loop"


def alias_of_nothing(repo: Path) -> str:
    (repo / "refs/heads/alias").symlink_to("nothing")
    return "refs/heads/alias"


def remote_ref_with_a_word(repo: Path) -> str:
    write_ref(repo, "remotes/origin/main", "word")
    return "refs/remotes/origin/main"


def mirrored_ref_with_a_word(repo: Path) -> str:
    write_ref(repo, "mirrors/org.example.Mirror/main", "word")
    return "refs/mirrors/org.example.Mirror/main"


def wrong_mode(repo: Path) -> str:
    # By hand: newer `ostree config set` refuses it.
    config = repo / "config"
    mode = ostree(repo, "config", "get", "core.mode").strip()
    config.write_text(config.read_text().replace(f"mode={mode}\n", "mode=wrong\n"))
    return "config"


def config_is_garbage(repo: Path) -> str:
    (repo / "config").write_text("no key file\n")
    return "config"


def no_refs(repo: Path) -> str:
    (repo / "refs/heads").rename(repo / "refs/elsewhere")
    return "refs/heads"


CORRUPT = [
    missing_dirtree,
    missing_dirmeta,
    truncated_dirtree,
    empty_dirtree,
    altered_dirtree,
    swapped_dirtree,
    dirtree_is_a_directory,
    dirtree_is_a_fifo,
    commit_cut_short,
    ref_to_a_missing_commit,
    ref_with_a_word,
    ref_with_binary,
    empty_ref,
    ref_is_a_fifo,
    alias_of_nothing,
    ref_is_a_loop,
    remote_ref_with_a_word,
    mirrored_ref_with_a_word,
]
UNSUPPORTED = [wrong_mode, config_is_garbage]
UNREADABLE = [no_refs]


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("damage", [*CORRUPT, *UNSUPPORTED, *UNREADABLE])
def test_damage_stops_before_the_first_unlink(repo: Path, damage: Damage, dry_run: bool) -> None:
    named = damage(repo)
    before = listing(repo)

    arguments = [str(COMMAND), "prune", f"--repo={repo}", "--refs-only", "--depth=0"]
    done = subprocess.run(
        [*arguments, "--dry-run"] if dry_run else arguments, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1

    expected: type[Exception] = OSError
    if damage in CORRUPT:
        expected = ostree_sweep.CorruptRepoError
    elif damage in UNSUPPORTED:
        expected = ostree_sweep.UnsupportedRepoError
    with pytest.raises(expected) as raised:
        ostree_sweep.prune(repo, refs_only=True, depth=0, dry_run=dry_run)
    if isinstance(raised.value, ostree_sweep.CorruptRepoError):
        assert raised.value.object_name == named
    if isinstance(raised.value, OSError):
        assert raised.value.errno
        assert named in str(raised.value.filename)
    assert listing(repo) == before


def test_what_is_wrong_with_garbage_stops_nothing(repo: Path) -> None:
    """Only what is reachable is read: a damaged commit that nothing leads to simply goes."""
    parent = ostree(repo, "rev-parse", "main^").strip()
    path = path_of(repo, f"{parent}.commit")
    path.write_bytes(path.read_bytes()[:50])
    ostree_sweep.prune(repo, refs_only=True, depth=0)
    assert not path.exists()
    ostree(repo, "fsck", "--quiet")


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda _: None, "No such file"),
        (lambda path: path.write_text("a file"), "it is no directory"),
        (lambda path: path.mkdir(), "objects"),
        (lambda path: (path / "objects").mkdir(parents=True), "config"),
    ],
)
def test_a_path_that_is_no_repository(tmp_path: Path, prepare: Callable[[Path], object], reason: str) -> None:
    path = tmp_path / "place"
    prepare(path)
    before = listing(tmp_path)
    with pytest.raises(ostree_sweep.NotARepoError, match=reason) as raised:
        ostree_sweep.prune(path)
    assert str(path) in str(raised.value)
    done = subprocess.run([COMMAND, "prune", f"--repo={path}"], check=False, capture_output=True, text=True)
    assert (done.returncode, str(path) in done.stderr) == (1, True)
    assert listing(tmp_path) == before


@pytest.mark.needs_root
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    "below", ["", "objects", "objects/{live}", "objects/{garbage}", "refs/heads", "refs/heads/main", "config"]
)
def test_no_permission(repo: Path, below: str, dry_run: bool) -> None:
    """As another user, with one part of the repository closed."""
    with tempfile.TemporaryDirectory() as directory:
        # Unlike pytest's own directories, others may pass through this one.
        Path(directory).chmod(0o755)
        subprocess.run(["cp", "-a", repo, directory], check=True)
        garbage = ostree(repo, "rev-parse", "main^")
        closed = below.format(live=tip(repo)[:2], garbage=garbage[:2])
        _check_no_permission(Path(directory) / repo.name, closed, dry_run)


def _check_no_permission(repo: Path, below: str, dry_run: bool) -> None:
    closed = repo / below
    for path in [repo, *repo.rglob("*")]:
        os.lchown(path, 65534, 65534)
    closed.chmod(0o000)
    before = listing(repo)
    # The interpreter may live where others can't go, so only the user changes, in the child.
    script = (
        "import os, sys, ostree_sweep.api, ostree_sweep.core\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: ostree_sweep.api.prune(sys.argv[1], refs_only=True, depth=0, dry_run=sys.argv[2] == 'True')\n"
        "except OSError as error: print(error.errno, error.filename)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, repo, str(dry_run)],
        check=False,
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"13 {repo}")
    assert str(closed) in done.stdout
    assert listing(repo) == before


def test_a_partial_commit_may_lack_objects(repo: Path) -> None:
    name = live_tree(repo)
    (repo / "state" / f"{tip(repo, 'dev')}.commitpartial").touch()
    path_of(repo, name).unlink()
    before = objects(repo)
    report = ostree_sweep.prune(repo, refs_only=True)
    assert report.objects_pruned == len(before - objects(repo))
    assert f"{tip(repo, 'dev')}.commit" in objects(repo)


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_damage_deep_in_a_large_tree(tmp_path: Path, damage: str) -> None:
    """Far beyond what one thread reads before others join in."""
    repo = tmp_path / "repo"
    ostree(repo, "init", "--mode=bare-user")
    for branch in ("kept", "dropped"):
        for number in range(300):
            directory = tmp_path / branch / str(number % 17) / str(number)
            directory.mkdir(parents=True)
            (directory / "file").write_text(f"{branch} {number}")
        ostree(repo, "commit", f"--branch={branch}", str(tmp_path / branch))
    ostree(repo, "prune", "--no-prune")
    ostree(repo, "refs", "--delete", "dropped")
    for number in (0, 150, 299):
        listed = ostree(repo, "ls", "-d", "--checksum", "kept", f"/{number % 17}/{number}").split()
        name = next(f"{word}.dirtree" for word in listed if path_of(repo, f"{word}.dirtree").exists())
        path = path_of(repo, name)
        content = path.read_bytes()
        path.unlink()
        if damage == "cut short":
            path.write_bytes(content[:7])
        before = listing(repo)
        for jobs in (1, 4):
            command = (COMMAND, "prune", "--refs-only", f"--jobs={jobs}", f"--repo={repo}")
            done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True)
            assert done.returncode == 1
            assert name in done.stderr
            assert listing(repo) == before
        path.write_bytes(content)
    assert ostree_sweep.prune(repo, refs_only=True).objects_pruned > 300
