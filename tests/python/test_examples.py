"""The examples, on real sysroots, by the system's Python: the one that updaters run by."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from support.sysroots import BRANCH, COMMAND, PROJECT, Sysroot, locked, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root

EXAMPLES = PROJECT / "examples"
PYTHON = f"env PYTHONPATH={PROJECT}/python PYTHONUNBUFFERED=1 /usr/bin/python3"


@pytest.fixture
def updated(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot that was updated to version 3, with a stamp; version 4 is there to be staged."""
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.update(booted, 3, then=f"{COMMAND} stamp")
    yield sysroot
    sysroot.remove()


@pytest.fixture
def booted(updated: Sysroot) -> str:
    """The third version, which is what a reboot boots. A fourth one is there."""
    third = updated.ostree("rev-parse", BRANCH).strip()
    updated.commit(4)
    return third


@pytest.mark.parametrize("example", ["glib_updater.py", "asyncio_updater.py"])
def test_updater_cleans_up_and_stages(updated: Sysroot, booted: str, example: str) -> None:
    fourth = updated.ostree("rev-parse", BRANCH).strip()
    done = updated.boot(
        booted, f"{PYTHON} {EXAMPLES}/{example} {BRANCH}; ostree admin status; ostree admin finalize-staged"
    )
    assert "cleaned up: True, " in done.stdout
    assert "will have to go" in done.stdout
    assert f"os {fourth}.0 (staged)" in done.stdout
    assert not (updated.path / ".cleanup").exists()
    assert (updated.path / "ostree/sweep.plan").exists()
    assert updated.deployment(fourth).is_dir()
    updated.ostree("fsck", "--quiet")


@pytest.mark.parametrize("example", ["glib_updater.py", "asyncio_updater.py"])
def test_updater_is_cancelled_while_it_waits(updated: Sysroot, booted: str, example: str) -> None:
    before = updated.objects()
    with locked(updated.repo / ".lock"):
        done = updated.boot(
            booted,
            f"""{PYTHON} {EXAMPLES}/{example} {BRANCH} >/tmp/out & updater=$!
            timeout 20 sh -c 'until grep -q lock /tmp/out; do sleep 0.05; done'
            kill -TERM $updater; wait $updater; cat /tmp/out; ostree admin status""",
        )
    assert "(staged)" not in done.stdout
    assert (updated.path / ".cleanup").exists()
    assert updated.objects() == before


def test_an_updater_over_pygobject_from_the_pull_to_the_cleanup(tmp_path: Path) -> None:
    sysroot = Sysroot.create(tmp_path / "sysroot")
    sysroot.deploy(1)
    second = sysroot.deploy(2)
    # What the updater pulls from: the third version, which the sysroot's own repository doesn't have.
    server = sysroot.path / "server"
    output("ostree", "init", "--mode=archive", f"--repo={server}")
    third = sysroot.commit(3)
    output("ostree", "pull-local", f"--repo={server}", sysroot.repo, BRANCH)
    sysroot.ostree("reset", BRANCH, second)
    sysroot.ostree("prune", "--refs-only")
    sysroot.ostree("remote", "add", "--no-gpg-verify", "server", "file:///sysroot/server")

    updater = f"{PYTHON} {EXAMPLES}/pygobject_updater.py"
    update = f"{updater} update server:{BRANCH}"
    done = sysroot.boot(second, f"{update}; ostree admin finalize-staged; {updater} finalized")
    assert f"updater: staged: {third}" in done.stdout
    assert re.search(r"updater: planned: \d+ objects, \d+ bytes", done.stdout)
    assert "updater: cleanup requested at 2" in done.stdout
    assert (sysroot.path / ".cleanup").exists()

    # Progress is looked at every 50 ms, and a sweep that is not slowed down may be over before.
    slowly = "strace -f -qq -o /dev/null -e trace=unlinkat -e inject=unlinkat:delay_enter=20000"
    done = sysroot.boot(third, f"{slowly} {updater} booted; {updater} booted; {update}")
    assert re.search(r"updater: ran: True, [1-9]\d* objects, [1-9]\d* bytes", done.stdout)
    assert "updater: phase: sweep" in done.stdout
    assert "updater: ran: False, 0 objects, 0 bytes" in done.stdout
    assert f"updater: up to date: {third}" in done.stdout
    assert not (sysroot.path / ".cleanup").exists()
    sysroot.ostree("fsck", "--quiet")
    sysroot.remove()


@pytest.fixture
def fleet() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server's address, and what was sent to it."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", received
        server.shutdown()
        thread.join()


def run_fleet(url: str, sysroot: Sysroot) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/usr/bin/python3", EXAMPLES / "fleet_runner.py", url, f"--sysroot={sysroot.path}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"},
    )


def test_fleet_runner_sends_the_report(updated: Sysroot, fleet: tuple[str, list[dict[str, Any]]]) -> None:
    url, received = fleet
    assert run_fleet(url, updated).returncode == 0
    assert run_fleet(url, updated).returncode == 0
    first, second = received
    assert first["outcome"] == "done"
    assert first["report"]["stamp_removed"]
    assert first["report"]["objects_pruned"] > 0
    assert not second["report"]["ran"]


def test_fleet_runner_cleans_up_without_a_fleet(updated: Sysroot) -> None:
    done = run_fleet("http://127.0.0.1:1/", updated)
    assert done.returncode == 0
    assert "the report was not sent" in done.stderr
    assert not (updated.path / ".cleanup").exists()
