"""What systemd is told, at the sockets where it listens."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import Progress
from ostree_sweep.cli.service import Status
from support.sysroots import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL = "/run/systemd/journal"

# The journal's own socket may be in use: it is replaced in a mount namespace.
AS_SERVICE = f"""\
import json, os, socket, struct, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
os.makedirs("{JOURNAL}")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("{JOURNAL}/socket")
journal.settimeout(30)
ours, its = socket.socketpair()
status = os.fstat(its.fileno())
environment = dict(os.environ, JOURNAL_STREAM=f"{{status.st_dev}}:{{status.st_ino}}")
done = subprocess.run(sys.argv[1:], stdout=its, stderr=its, env=environment)
its.close()
data, fields = journal.recv(1 << 20), {{}}
while data:
    line, data = data.split(b"\\n", 1)
    name, equals, value = line.partition(b"=")
    if not equals:
        (length,) = struct.unpack("<Q", data[:8])
        value, data = data[8:8 + length], data[9 + length:]
    fields[name.decode()] = value.decode()
print(json.dumps([done.returncode, ours.recv(1 << 16).decode(), fields]))
"""


def as_service(*command: object) -> tuple[int, str, dict[str, str]]:
    """Runs a command whose output goes to the journal: its status, what it printed, the message it wrote."""
    words = ["unshare", "--mount", "python3", "-c", AS_SERVICE, *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    status, printed, fields = json.loads(done.stdout)
    return status, printed, fields


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with garbage."""
    path, tree = tmp_path / "repo", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("garbage")
    ostree = ("ostree", f"--repo={path}")
    subprocess.run([*ostree, "init", "--mode=archive"], check=True)
    subprocess.run([*ostree, "commit", "--orphan", f"--tree=dir={tree}"], check=True, stdout=subprocess.PIPE)
    return path


@pytest.mark.needs_root
def test_the_journal_gets_one_message_with_the_figures(repo: Path) -> None:
    status, printed, fields = as_service(COMMAND, "prune", f"--repo={repo}", "--refs-only")
    assert (status, printed) == (0, "")
    assert fields["MESSAGE_ID"] == "ece0fa93ea324096ab949e0bb879c3a1"
    assert fields["MESSAGE"].splitlines()[0] == "Total objects: 4"
    assert fields["PRIORITY"] == "6"
    assert fields["OSTREE_SWEEP_OBJECTS_PRUNED"] == "4"
    assert fields["OSTREE_SWEEP_DRY_RUN"] == "0"
    assert int(fields["OSTREE_SWEEP_BYTES_FREED"]) > 0


@pytest.mark.needs_root
def test_the_journal_gets_errors(tmp_path: Path) -> None:
    status, printed, fields = as_service(COMMAND, "prune", f"--repo={tmp_path / 'none'}")
    assert (status, printed) == (1, "")
    assert fields["MESSAGE_ID"] == "c0d7e2ea61bd49fd8956bee8c852a935"
    assert fields["PRIORITY"] == "3"
    assert "none" in fields["MESSAGE"]


def test_outside_of_a_service_lines_are_printed(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The variable outlives a redirection, and then says nothing of this stream.
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    done = subprocess.run(
        [COMMAND, "prune", f"--repo={repo}", "--refs-only"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Total objects: 4\nDeleted 4 objects")
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["\0ostree-sweep-test", "notify"])
def test_the_manager_is_told_how_far_the_work_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    address = name if name.startswith("\0") else str(tmp_path / name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        status = Status()
        status(Progress("crawl", 5, None, 0))
        status(Progress("crawl", 6, None, 0))
        status(Progress("sweep", 7, 10, 2000))
        assert manager.recv(4096) == b"STATUS=crawl: 5, 0 B freed"
        # Not more than once a second.
        assert manager.recv(4096) == b"STATUS=sweep: 7 of 10, 2.0 KiB freed"
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
        status(Progress("lock", 0, None, 0, "/repo/.lock, held by pid 5 (a\nb)"))
        told = rb"STATUS=waiting for /repo/.lock, held by pid 5 (a\nb): 0, 0 B freed"
        assert manager.recv(4096) == told


def test_a_manager_that_is_gone_stops_nothing(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(repo / "nobody"))
    subprocess.run([COMMAND, "prune", f"--repo={repo}", "--refs-only"], capture_output=True, check=True)
