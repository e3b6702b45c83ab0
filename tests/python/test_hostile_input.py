"""What others may have put into a repository: refused by name, left alone or removed, never waited for."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Callable

import pytest

import ostree_sweep
from support import repositories
from support.crash import linked_copy, worn_repo, worn_sysroot
from support.repositories import listing, object_path, objects
from support.sysroots import COMMAND, Sysroot, output
from support.users import USER, give, sweep_as

if TYPE_CHECKING:
    from collections.abc import Iterator

PRUNE = ("prune", "--refs-only", "--depth=0")

# Room for more than anybody has: nobody reads that to its end.
ENDLESS = 1 << 40


@pytest.fixture(scope="module")
def worn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with garbage of every kind, to be copied."""
    repo = worn_repo(tmp_path_factory.mktemp("worn") / "repo", "archive", versions=6)
    (repo / ".lock").touch()
    return repo


@pytest.fixture
def repo(worn: Path, tmp_path: Path) -> Path:
    """A copy of it, of which every file may be changed."""
    return repositories.copy(worn, tmp_path / "repo")


def sweep(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command; who waits for a FIFO never ends."""
    command = [str(COMMAND), *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def refuses(repo: Path, *named: str) -> None:
    """Fails unless dry and real runs end with one line that names something, and change nothing."""
    before = listing(repo)
    for option in ("--dry-run", "--jobs=4"):
        done = sweep(*PRUNE, f"--repo={repo}", option)
        assert done.returncode == 1, done
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        assert all(name in done.stderr for name in named)
    assert listing(repo) == before


def add(repo: Path, kind: str, content: bytes) -> str:
    """Adds an object under the name that its content has; returns its checksum."""
    checksum = hashlib.sha256(content).hexdigest()
    path = object_path(repo, f"{checksum}.{kind}")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return checksum


def tip(repo: Path, branch: str = "main") -> str:
    """The commit that a branch holds."""
    return (repo / "refs" / "heads" / branch).read_text(encoding="ascii").strip()


def root_of(repo: Path, commit: str) -> tuple[str, str]:
    """The checksums of a commit's dirtree and dirmeta."""
    names = repositories.nodes(repo, commit)[PurePosixPath("/")]
    return names[0].split(".")[0], names[1].split(".")[0]


def commit_of(repo: Path, tree: str | None = None, meta: str | None = None) -> bytes:
    """The content of a commit like that of `main`, with another root."""
    commit = tip(repo)
    content = object_path(repo, f"{commit}.commit").read_bytes()
    for old, new in zip(root_of(repo, commit), (tree, meta)):
        content = content.replace(bytes.fromhex(old), bytes.fromhex(new or old))
    return content


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(_: bytes) -> bytes:
    return b""


def random(content: bytes) -> bytes:
    return hashlib.shake_128(content).digest(len(content))


def doubled(content: bytes) -> bytes:
    return content + content


def endless_offsets(content: bytes) -> bytes:
    return content[:-4] + b"\xff\xff\xff\xff"


def offsets_of_zero(content: bytes) -> bytes:
    """To GLib this has children at their default values: none at all."""
    return content[:-4] + bytes(4)


DISTORTIONS = [truncated, empty, random, doubled, endless_offsets, offsets_of_zero]


@pytest.mark.parametrize("distort", DISTORTIONS)
@pytest.mark.parametrize("kind", ["commit", "dirtree"])
def test_malformed_objects_whose_checksum_is_right(
    repo: Path, kind: str, distort: Callable[[bytes], bytes]
) -> None:
    if kind == "commit":
        commit = bad = add(repo, kind, distort(commit_of(repo)))
    else:
        tree, _ = root_of(repo, tip(repo))
        bad = add(repo, kind, distort(object_path(repo, f"{tree}.dirtree").read_bytes()))
        commit = add(repo, "commit", commit_of(repo, tree=bad))
    ref = repo / "refs" / "heads" / "hostile"
    ref.write_text(commit, encoding="ascii")
    refuses(repo, f"{bad}.{kind}")

    # What nothing leads to is garbage, whatever it holds.
    ref.unlink()
    assert sweep(*PRUNE, f"--repo={repo}").returncode == 0
    assert objects(repo).isdisjoint({f"{bad}.{kind}", f"{commit}.commit"})
    repositories.fsck(repo)


@pytest.mark.parametrize("content", [b"", b"\0" * 5, bytes(8) + b"\0\0\x81\xa4", b"\xff" * 40])
def test_a_dirmeta_of_no_directory(repo: Path, content: bytes) -> None:
    bad = add(repo, "dirmeta", content)
    commit = add(repo, "commit", commit_of(repo, meta=bad))
    (repo / "refs" / "heads" / "hostile").write_text(commit, encoding="ascii")
    refuses(repo, f"{bad}.dirmeta")


@pytest.mark.parametrize("kind", ["commit", "dirtree", "dirmeta"])
def test_an_endless_object(repo: Path, kind: str) -> None:
    commit = tip(repo)
    tree, meta = root_of(repo, commit)
    name = {"commit": f"{commit}.commit", "dirtree": f"{tree}.dirtree", "dirmeta": f"{meta}.dirmeta"}[kind]
    os.truncate(object_path(repo, name), ENDLESS)
    refuses(repo, name, "too large")


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, ENDLESS)


def link_to_a_device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def link_to_a_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path.parent.parent.parent / "pipe")
    path.symlink_to("../../pipe")


def nul(path: Path) -> None:
    path.write_bytes(b"[core]\nrepo_version=1\0\n")


@pytest.mark.parametrize("make", [endless, link_to_a_device, link_to_a_fifo])
@pytest.mark.parametrize("name", ["main", "new"])
def test_refs_that_are_none(repo: Path, name: str, make: Callable[[Path], None]) -> None:
    make(repo / "refs" / "heads" / name)
    refuses(repo, f"refs/heads/{name}")


def test_no_device_is_opened(repo: Path, tmp_path: Path) -> None:
    """To open one can be enough to set it going."""
    link_to_a_device(repo / "refs" / "heads" / "new")
    trace = tmp_path / "trace"
    strace = ("strace", "-f", "-y", "-o", str(trace), "-e", "trace=openat,openat2")
    command = [*strace, str(COMMAND), *PRUNE, f"--repo={repo}"]
    assert subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 1
    opened = trace.read_text(encoding="utf-8", errors="replace")
    assert "/refs/heads>" in opened
    assert "/dev/zero" not in opened


@pytest.mark.parametrize("make", [fifo, directory, endless, link_to_a_device, nul])
def test_settings_that_are_none(repo: Path, make: Callable[[Path], None]) -> None:
    make(repo / "config")
    refuses(repo, f"{repo}/config")


def test_refs_without_end(repo: Path) -> None:
    """Each level would take a descriptor, and a piece of the stack."""
    below = os.open(repo / "refs" / "heads", os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("d", dir_fd=below)
        inner = os.open("d", os.O_RDONLY, dir_fd=below)
        os.close(below)
        below = inner
    os.close(below)
    command = ["prlimit", "--nofile=2000", str(COMMAND), *PRUNE, f"--repo={repo}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith("d: it is nested too deeply\n")
    output("rm", "-r", repo / "refs" / "heads" / "d")


@pytest.mark.parametrize(
    ("name", "line_end"),
    [
        (b"plain", "\r\n"),
        (b"two\nlines", "\n"),
        (b"\xff\xfe", ""),
        (b"..hidden", "\n"),
        (b"\x1b[2J", " \t\n"),
        (b"-x", "\n"),
        ("ümlaut\n".encode(), "\n"),
    ],
)
def test_a_ref_of_any_name_keeps_its_commit(repo: Path, name: bytes, line_end: str) -> None:
    """Also under names that libostree would not list: somebody wrote that checksum for a reason."""
    parent = output("ostree", f"--repo={repo}", "rev-parse", "main^").strip()
    path = os.fsencode(repo / "refs" / "heads") + b"/" + name
    Path(os.fsdecode(path)).write_bytes(f"{parent}{line_end}".encode())
    assert sweep(*PRUNE, f"--repo={repo}").returncode == 0
    assert f"{parent}.commit" in objects(repo)


def test_a_name_cannot_look_like_another_line(repo: Path) -> None:
    (repo / "refs" / "heads" / "ünd\nerror: all is lost \x1b[2J").mkdir()
    (repo / "refs" / "heads" / "ünd\nerror: all is lost \x1b[2J" / "ref").write_text("word", encoding="ascii")
    refuses(repo, "refs/heads/ünd\\nerror: all is lost \\x1b[2J/ref")


def test_names_in_object_directories(repo: Path) -> None:
    """What is no object's name is none of ours, and nothing leads out of its directory."""
    place = repo / "objects" / tip(repo)[:2]
    rest = "0" * 62
    odd = [f"{rest}.commit\n", f"{rest}.COMMIT", f"{rest[1:]}.file", "..commit", f"{rest}.filez.tmp", "a\nb"]
    for name in odd:
        (place / name).touch()
    (Path(os.fsdecode(os.fsencode(place) + b"/\xff" + rest[1:].encode() + b".filez"))).touch()
    (repo / "objects" / "zz").mkdir()
    (repo / "objects" / "zz" / f"{rest}.filez").touch()
    (repo / "objects" / "0" / f"{rest}.filez").parent.mkdir()
    kept = {path for path in repo.glob("objects/*/*") if path.name in odd or len(path.parent.name) != 2}
    assert sweep(*PRUNE, f"--repo={repo}").returncode == 0
    assert all(path.exists() for path in kept)
    assert (repo / "objects" / "zz" / f"{rest}.filez").exists()


def test_garbage_that_is_no_file(repo: Path) -> None:
    """A FIFO or a dangling symlink goes, a directory is named; no harm is done to where a symlink leads."""
    outside = repo.parent / "outside"
    outside.touch()
    place = repo / "objects" / tip(repo)[:2]
    names = [f"{digit}" * 62 + ".filez" for digit in range(4)]
    os.mkfifo(place / names[0])
    (place / names[1]).symlink_to("nothing")
    (place / names[2]).symlink_to(outside)
    (place / names[3]).mkdir()
    done = sweep(*PRUNE, f"--repo={repo}")
    assert done.returncode == 3
    assert (
        done.stderr == f"error: cannot remove objects/{place.name}/{names[3]}: Is a directory (os error 21)\n"
    )
    assert [os.path.lexists(place / name) for name in names] == [False, False, False, True]
    assert outside.exists()
    repositories.fsck(repo)


@pytest.mark.parametrize("make", [fifo, link_to_a_device])
@pytest.mark.parametrize("below", ["objects/00", "refs/mirrors", "state"])
def test_directories_that_are_none(repo: Path, below: str, make: Callable[[Path], None]) -> None:
    if (repo / below).exists():
        (repo / below).rename(repo / "elsewhere")
    make(repo / below)
    refuses(repo, f"{repo}/{below}")


@pytest.mark.parametrize(
    ("below", "make"),
    [("deltas", fifo), ("delta-indexes", Path.touch), ("tmp", link_to_a_device), ("tmp/cache", fifo)],
)
def test_places_of_leftovers_that_are_none(repo: Path, below: str, make: Callable[[Path], None]) -> None:
    shutil.rmtree(repo / below, ignore_errors=True)
    make(repo / below)
    refuses(repo, f"{repo}/{below}")


def test_deltas_that_are_odd(repo: Path) -> None:
    """All of a garbage delta goes, as with `ostree`; nobody waits for it, and no symlink is followed."""
    place = repo / "deltas" / "AA"
    place.mkdir(parents=True, exist_ok=True)
    outside = repo.parent / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    deltas = place / ("A" * 41), place / (("A" * 41) + "-" + "A" * 43)
    for delta in deltas:
        delta.mkdir()
        os.mkfifo(delta / "superblock")
        (delta / "part\n").symlink_to(repo / "config")
        (delta / "directory" / "below").mkdir(parents=True)
        (delta / "directory" / "below" / "file").touch()
        (delta / "directory" / "link").symlink_to(outside)
    os.mkfifo(place / "pipe")
    reference = repositories.copy(repo, repo.with_name("reference"))
    output("ostree", f"--repo={reference}", "prune", "--refs-only", "--depth=0")
    before = ostree_sweep.prune(repo, refs_only=True, depth=0, dry_run=True)
    after = ostree_sweep.prune(repo, refs_only=True, depth=0)
    assert before.deltas_pruned == after.deltas_pruned
    assert (after.failures, [delta.exists() for delta in deltas]) == ((), [False, False])
    assert [(reference / delta.relative_to(repo)).exists() for delta in deltas] == [False, False]
    assert (repo / "config").exists()
    assert (outside / "precious").exists()


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_files_are_never_written_through_what_lies_there(repo: Path, kind: str) -> None:
    """The names at which a new file is made before it takes its place."""
    parent = output("ostree", f"--repo={repo}", "rev-parse", "main^").strip()
    precious = repo.parent / "precious"
    precious.write_text("precious", encoding="ascii")
    tombstone = object_path(repo, f"{parent}.tombstone-commit.ostree-sweep")
    for scratch in (repo / "config.ostree-sweep", tombstone):
        if kind == "fifo":
            os.mkfifo(scratch)
        else:
            os.link(precious, scratch)
    done = sweep("prune", f"--repo={repo}", f"--delete-commit={parent}")
    # It is in the middle of a branch.
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert done.stderr.startswith(f"warning: main: without commit {parent} ")
    assert precious.read_text(encoding="ascii") == "precious"
    assert tombstone.with_suffix("").is_file()


@pytest.mark.parametrize("make", [fifo, directory, link_to_a_device])
def test_lock_files_that_are_none(repo: Path, make: Callable[[Path], None]) -> None:
    make(repo / ".lock")
    before = objects(repo)
    assert sweep(*PRUNE, f"--repo={repo}", "--dry-run").returncode == 0
    done = sweep(*PRUNE, f"--repo={repo}")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {repo}/.lock: ")
    assert objects(repo) == before


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot with much to clean up, and no stamp."""
    made = worn_sysroot(tmp_path / "sysroot")
    made.stamp.unlink()
    yield made
    made.remove()


@pytest.mark.needs_root
def test_stamps_that_are_none(sysroot: Sysroot) -> None:
    before = sysroot.state()
    for make in (fifo, directory, link_to_a_device):
        make(sysroot.stamp)
        done = sweep("cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
        assert done.returncode == 1
        assert re.fullmatch(f"error: {sysroot.stamp}: (Not a regular file|Is a symbolic link)\n", done.stderr)
        assert os.path.lexists(sysroot.stamp)
        assert sysroot.state() == before
        output("rm", "-r", sysroot.stamp)
    endless(sysroot.stamp)
    done = sweep("cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert not sysroot.stamp.exists()
    assert sysroot.state() != before


STAGED = "/run/ostree/staged-deployment"


@pytest.mark.needs_root
def test_a_staged_deployment_that_cannot_be_read(tmp_path: Path) -> None:
    """To libostree it would be none, and its commit garbage."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    booted = sysroot.deploy(1)
    staged = sysroot.commit(2)
    before = sysroot.objects()
    try:
        for damage in (
            "truncate -s 40",
            "truncate -s 0",
            "truncate -s 1T",
            "cp /proc/sys/kernel/random/uuid",
        ):
            done = sysroot.boot(
                booted,
                f"""
                ostree admin deploy --stage os/stable >&2
                ostree refs --delete os/stable
                {damage} {STAGED}
                for option in --dry-run --impact=full; do
                    {COMMAND} cleanup $option && exit 9
                done
                ostree admin undeploy 0 || true
                ostree refs --create=os/stable {staged}
                """,
                check=False,
            )
            errors = [line for line in done.stderr.splitlines() if line.startswith("error: /run")]
            assert len(errors) == 2, done
            assert all(line.startswith(f"error: {STAGED}: ") for line in errors)
            assert before <= sysroot.objects()
    finally:
        sysroot.remove()


@pytest.fixture
def users_repo(worn: Path) -> Iterator[Path]:
    """A repository of another user's, where he can get at it, like flatpak's of one user."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        repo = Path(place) / "repo"
        output("ostree", f"--repo={repo}", "init", "--mode=bare-user-only")
        options = ("--disable-fsync", "--bareuseronly-files")
        output("ostree", f"--repo={repo}", "pull-local", *options, worn, "main", "--depth=-1")
        give(repo)
        yield repo


@pytest.mark.needs_root
def test_a_user_prunes_what_is_his(users_repo: Path) -> None:
    before = objects(users_repo)
    done = sweep_as(*PRUNE, f"--repo={users_repo}", "--impact=idle")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        f"Total objects: {len(before)}\nDeleted {len(before - objects(users_repo))} obj"
    )
    assert all(path.lstat().st_uid == USER for path in users_repo.rglob("*"))
    repositories.fsck(users_repo)


@pytest.mark.needs_root
@pytest.mark.parametrize("what", ["ref", "dirtree", "directory", ".lock"])
def test_a_user_meets_what_only_root_may_read(users_repo: Path, what: str) -> None:
    if what == "ref":
        closed = users_repo / "refs" / "heads" / "roots"
        closed.write_text(tip(users_repo), encoding="ascii")
    elif what == "dirtree":
        closed = object_path(users_repo, f"{root_of(users_repo, tip(users_repo))[0]}.dirtree")
    elif what == "directory":
        closed = object_path(users_repo, f"{tip(users_repo)}.commit").parent
    else:
        closed = users_repo / ".lock"
        closed.touch()
    os.chown(closed, 0, 0)
    closed.chmod(0o700 if closed.is_dir() else 0o600)
    before = listing(users_repo)
    done = sweep_as(*PRUNE, f"--repo={users_repo}")
    assert done.returncode == 1
    assert done.stderr == f"error: {closed}: Permission denied\n"
    assert listing(users_repo) == before


@pytest.mark.needs_root
def test_a_user_meets_what_only_root_may_change(users_repo: Path) -> None:
    """What lies in that directory stays, all else goes."""
    reference = linked_copy(users_repo, users_repo.with_name("reference"))
    ostree_sweep.prune(reference, refs_only=True, depth=0)
    garbage = objects(users_repo) - objects(reference)
    commits = {name[:2] for name in garbage if name.endswith(".commit")}
    # A commit that stays would keep what it reaches.
    closed = next(path for path in sorted({name[:2] for name in garbage} - commits))
    os.chown(users_repo / "objects" / closed, 0, 0)
    done = sweep_as(*PRUNE, f"--repo={users_repo}")
    assert done.returncode == 3
    assert {re.split("[ :]+", line)[3][8:10] for line in done.stderr.splitlines()} == {closed}
    assert all(line.endswith("Permission denied (os error 13)") for line in done.stderr.splitlines())
    assert objects(users_repo) == objects(reference) | {name for name in garbage if name[:2] == closed}
    repositories.fsck(users_repo)
