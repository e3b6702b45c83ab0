"""Errors: which class, `errno` and `filename`; and who holds a lock."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Callable

import pytest

import ostree_sweep
from ostree_sweep import LockTimeoutError, NotARepoError, aio, errors
from support.samples import locked, ostree
from support.sysroots import PROJECT

LOCK_AND_WAIT = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from support.samples import locked
with locked(Path(sys.argv[2])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("dead", encoding="utf-8")
    ostree("init", "--mode=archive", f"--repo={repo}")
    ostree("commit", f"--repo={repo}", "--orphan", tree)
    return repo


CALLS: list[Callable[[str], object]] = [
    ostree_sweep.prune,
    ostree_sweep.usage,
    ostree_sweep.cleanup,
    ostree_sweep.auto_cleanup,
    ostree_sweep.plan,
    lambda path: ostree_sweep.plan(repo=path),
    lambda path: ostree_sweep.usage(sysroot=path),
]


@pytest.mark.parametrize("name", ["absent", "file", "."])
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_repository_or_sysroot(tmp_path: Path, name: str, call: Callable[[str], object]) -> None:
    (tmp_path / "file").touch()
    path = str(tmp_path / name)
    with pytest.raises(NotARepoError) as raised:
        call(path)
    assert isinstance(raised.value, FileNotFoundError)
    assert raised.value.errno == errno.ENOENT
    assert str(raised.value.filename).startswith(os.path.normpath(path))
    assert path.rstrip("/.") in str(raised.value)
    assert not str(raised.value).startswith("[Errno")


def test_a_sysroot_without_a_stamp_is_no_error(tmp_path: Path) -> None:
    ostree("admin", f"--sysroot={tmp_path}", "init-fs", tmp_path)
    assert not ostree_sweep.auto_cleanup(tmp_path).ran


def test_a_busy_lock_is_no_missed_deadline(repo: Path) -> None:
    """`asyncio.TimeoutError`, which Python 3.11 made the built-in one, is what `wait_for` raises."""

    async def prune() -> str:
        try:
            await asyncio.wait_for(aio.prune(repo, lock_timeout_s=0), 30)
        except (asyncio.TimeoutError, TimeoutError):
            return "deadline"
        except LockTimeoutError:
            return "lock"
        return "done"

    with locked(repo):
        assert asyncio.run(prune()) == "lock"


def test_a_busy_lock_has_errno_and_filename(repo: Path) -> None:
    with locked(repo), pytest.raises(BlockingIOError) as raised:
        ostree_sweep.prune(repo, lock_timeout_s=0.5)
    error = raised.value
    assert isinstance(error, LockTimeoutError)
    assert (error.errno, error.filename) == (errno.EAGAIN, str(repo / ".lock"))
    assert f"cannot lock {repo}/.lock: still locked after 0.5 s" in str(error)


def test_a_busy_lock_tells_that_this_process_holds_it(repo: Path) -> None:
    with locked(repo), pytest.raises(LockTimeoutError, match="held by this process itself"):
        ostree_sweep.prune(repo, lock_timeout_s=0)


def test_a_busy_lock_tells_who_holds_it(repo: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LOCK_AND_WAIT), str(PROJECT / "tests" / "python"), str(repo)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(LockTimeoutError) as raised:
            ostree_sweep.prune(repo, lock_timeout_s=0)
        holder.communicate()
    assert f"held by pid {holder.pid} ({sys.executable})" in str(raised.value)
    assert "this process" not in str(raised.value)


def test_every_class_is_in_the_table() -> None:
    table = str(errors.__doc__)
    named = [
        name for name, kind in vars(errors).items() if getattr(kind, "__module__", "") == errors.__name__
    ]
    assert len(named) == 9
    assert all(f"| `{name}` |" in table for name in named)


@pytest.mark.parametrize("kind", [errors.StalePlanError, errors.UnsupportedRepoError, NotARepoError])
def test_every_error_has_a_report(kind: type[ostree_sweep.OstreeSweepError]) -> None:
    assert kind("reason").report is None


def test_a_lock_of_pygobject_in_this_process_is_told(repo: Path) -> None:
    """By the system's Python, which has PyGObject."""
    script = """if True:
        import sys, gi
        gi.require_version("OSTree", "1.0")
        from gi.repository import Gio, OSTree
        import ostree_sweep
        repo = OSTree.Repo.new(Gio.File.new_for_path(sys.argv[1]))
        repo.open(None)
        repo.lock_push(OSTree.RepoLockType.SHARED, None)
        try:
            ostree_sweep.prune(sys.argv[1], refs_only=True, lock_timeout_s=0)
        except ostree_sweep.LockTimeoutError as error:
            print(error)
        repo.lock_pop(OSTree.RepoLockType.SHARED, None)
        print(ostree_sweep.prune(sys.argv[1], refs_only=True, cancellable=Gio.Cancellable()).objects_pruned)
    """
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script, repo],
        env={**os.environ, "PYTHONPATH": str(PROJECT / "python")},
        capture_output=True,
        text=True,
        check=True,
    )
    told, pruned = done.stdout.splitlines()
    assert "held by this process itself, as by OSTree.Repo.lock_push" in told
    assert pruned == "4"


@pytest.mark.needs_root
def test_what_could_not_be_removed_has_the_kernels_number(repo: Path) -> None:
    stuck = next(repo.glob("objects/??/*.filez"))
    subprocess.run(["chattr", "+i", stuck], check=True)
    try:
        with pytest.raises(ostree_sweep.PartialCleanupError) as raised:
            ostree_sweep.prune(repo, refs_only=True)
    finally:
        subprocess.run(["chattr", "-i", stuck], check=True)
    (failure,) = raised.value.report.failures
    assert (failure.path, failure.errno) == (str(stuck.relative_to(repo)), errno.EPERM)
    assert "not permitted" in failure.error


@pytest.mark.needs_root
@pytest.mark.parametrize("call", ["cleanup", "auto_cleanup"])
def test_another_users_sysroot(call: str) -> None:
    """What libostree says of it names no file."""
    with tempfile.TemporaryDirectory() as directory:
        # Unlike pytest's own directories, others may pass through this one.
        Path(directory).chmod(0o755)
        ostree("admin", f"--sysroot={directory}", "init-fs", directory)
        # The interpreter may live where others can't go: all it needs is loaded before the user changes.
        script = (
            "import os, sys, ostree_sweep\n"
            "ostree_sweep.cleanup(sys.argv[1], impact='full'); ostree_sweep.request_cleanup(sys.argv[1])\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            f"try: ostree_sweep.{call}(sys.argv[1], impact='full')\n"
            "except PermissionError as error: print(error.errno, error.filename)\n"
        )
        command = [sys.executable, "-c", script, directory]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")
        assert done.stdout == f"{errno.EACCES} {directory}/ostree/lock\n"
