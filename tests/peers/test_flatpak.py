"""Beside flatpak: a user's installation whose apps are installed, updated, run and repaired."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ostree_sweep import prune, usage
from support.crash import LONG
from support.kill import kill_amid
from support.repositories import refs
from support.sysroots import object_names, output

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs_root

APP, RUNTIME = "org.example.App", "org.example.Platform"

# Updates beside as many prunes.
ROUNDS = 30 if LONG else 6

# Says that it runs, waits to be told, and then reads what it was installed with.
SCRIPT = "#!/bin/sh\necho running\nread line\nbusybox sha256sum /app/data | busybox cut -c -64\n"


class Installation:
    """A user's installation or the system's, and the archive repository that it installs from."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch, scope: str = "--user") -> None:
        self.scope = scope
        self.place = place
        self.hub = place / "hub"
        self.repo = place / ("data/flatpak" if scope == "--user" else "system") / "repo"
        monkeypatch.setenv("FLATPAK_SYSTEM_DIR", str(place / "system"))
        monkeypatch.setenv("XDG_DATA_HOME", str(place / "data"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        monkeypatch.setenv("HOME", str(place))
        runtime = place / "runtime"
        (runtime / "usr/bin").mkdir(parents=True)
        (runtime / "files").mkdir()
        (runtime / "metadata").write_text(f"[Runtime]\nname={RUNTIME}\n", encoding="ascii")
        shutil.copy("/bin/busybox", runtime / "usr/bin/busybox")
        (runtime / "usr/bin/sh").symlink_to("busybox")
        output("flatpak", "build-export", "--runtime", self.hub, runtime, "1")
        self.publish(1)
        output("flatpak", self.scope, "remote-add", "--no-gpg-verify", "hub", f"file://{self.hub}")
        output("flatpak", self.scope, "install", "-y", "hub", APP)

    def publish(self, version: int) -> None:
        """Puts a version of the app into the repository, with a delta from nothing."""
        app = self.place / "app"
        shutil.rmtree(app, ignore_errors=True)
        (app / "files/bin").mkdir(parents=True)
        (app / "export").mkdir()
        keys = f"name={APP}\nruntime={RUNTIME}/{os.uname().machine}/1\ncommand=run"
        (app / "metadata").write_text(f"[Application]\n{keys}\n", encoding="ascii")
        (app / "files/bin/run").write_text(SCRIPT, encoding="ascii")
        (app / "files/bin/run").chmod(0o755)
        (app / "files/data").write_bytes(os.urandom(100_000))
        for number in range(50):
            (app / f"files/part{number}").write_text(f"{version} {number}", encoding="ascii")
        output("flatpak", "build-export", self.hub, app, "stable")
        output("flatpak", "build-update-repo", "--generate-static-deltas", self.hub)

    def update(self) -> None:
        """Updates all that is installed."""
        output("flatpak", self.scope, "update", "-y")

    def start(self) -> subprocess.Popen[str]:
        """Starts the app; it runs on the version that is installed now."""
        app = subprocess.Popen(
            ["flatpak", self.scope, "run", APP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert app.stdout is not None
        assert app.stdout.readline() == "running\n"
        return app

    def prune(self) -> int:
        """Prunes with ours what flatpak would prune; returns how many objects that were."""
        return prune(self.repo, refs_only=True, depth=0).objects_pruned

    def assert_sound(self) -> None:
        """Neither `ostree` nor flatpak finds anything wrong."""
        output("ostree", "fsck", f"--repo={self.repo}", "--quiet")
        repair = output("sh", "-c", f"flatpak {self.scope} repair --dry-run 2>&1")
        assert "Verifying" in repair
        assert not any(word in repair for word in ("Dry run:", "invalid", "missing")), repair


def test_a_damage_is_noticed(installation: Installation) -> None:
    """By the check that the other tests end with."""
    lost = next(installation.repo.glob("objects/*/*.dirtree"))
    lost.rename(installation.place / "lost")
    repair = output("sh", "-c", f"flatpak {installation.scope} repair --dry-run 2>&1")
    assert "Dry run:" in repair
    assert "missing" in repair


@pytest.fixture(params=["--user", "--system"])
def either(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(tmp_path, monkeypatch, request.param)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(tmp_path, monkeypatch)


def test_an_app_that_runs_across_an_update_keeps_what_it_stands_on(installation: Installation) -> None:
    expected = output("sha256sum", installation.place / "app/files/data").split()[0]
    app = installation.start()
    installation.publish(2)
    installation.update()
    # What a pull leaves that nobody went on with.
    output("ostree", "commit", f"--repo={installation.repo}", "--orphan", installation.place / "app/files")
    assert installation.prune() > 0
    done, _ = app.communicate("go on\n", timeout=60)
    assert done.strip() == expected
    installation.assert_sound()

    expected = output("sha256sum", installation.place / "app/files/data").split()[0]
    app = installation.start()
    assert app.communicate("go on\n", timeout=60)[0].strip() == expected


def test_the_same_is_left_as_by_ostree_prune(either: Installation, tmp_path: Path) -> None:
    either.publish(2)
    either.update()
    output("ostree", "commit", f"--repo={either.repo}", "--orphan", either.place / "app/files")
    copy = tmp_path / "copy"
    output("cp", "-a", either.repo, copy)
    output("ostree", "prune", f"--repo={copy}", "--refs-only", "--depth=0")
    either.prune()
    assert object_names(either.repo) == object_names(copy)
    either.assert_sound()
    # flatpak can go on from that.
    assert APP in output("flatpak", either.scope, "list", "--columns=application")
    either.publish(3)
    (app,) = (ref for ref in refs(either.repo) if f"deploy/app/{APP}/" in ref)
    assert "commit " in output("ostree", f"--repo={either.repo}", "log", app.removeprefix("heads/"))
    either.update()
    either.assert_sound()


def test_an_update_that_was_killed_is_cleaned_up_and_begun_anew(either: Installation) -> None:
    either.publish(2)
    kill_amid(either.repo / "tmp", "flatpak", either.scope, "update", "-y")
    prune(either.repo, refs_only=True, depth=0, stale_tmp=True)
    output("ostree", "fsck", f"--repo={either.repo}", "--quiet")
    either.update()
    either.assert_sound()


def test_what_an_app_holds_alone_is_what_its_removal_frees(installation: Installation) -> None:
    (app,) = [holder for holder in usage(installation.repo).holders if f":app/{APP}/" in holder.name]
    assert app.refs[1].startswith(f"deploy/app/{APP}/")
    before = object_names(installation.repo)
    output("flatpak", installation.scope, "uninstall", "-y", APP)
    installation.prune()
    assert len(before - object_names(installation.repo)) == app.exclusive.objects
    installation.assert_sound()


def test_updates_beside_as_many_prunes(installation: Installation) -> None:
    done = threading.Event()
    failures = []

    def update() -> None:
        try:
            for version in range(2, 2 + ROUNDS):
                installation.publish(version)
                installation.update()
        except AssertionError as error:
            failures.append(error)
        finally:
            done.set()

    updater = threading.Thread(target=update)
    updater.start()
    prunes = 0
    while not done.is_set() or prunes < ROUNDS:
        installation.prune()
        prune(installation.hub, refs_only=True, depth=2)
        prunes += 1
    updater.join()
    assert not failures
    installation.assert_sound()
    output("ostree", "fsck", f"--repo={installation.hub}", "--quiet")
