"""The two lives of `make soak`, in short; and that each of them notices what is wrong."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING, Callable

import pytest

import soak
from diary import Diary
from disturbances import run
from soak import STEPS, device_life, server_life
from support import repositories
from support.crash import FILE_SYSTEMS
from support.sysroots import BRANCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device import Device
    from server import Server

# The third is one beside other tools.
ROUNDS = 3
SEED = 7


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Diary]:
    """A diary, whose lines are shown if the test fails."""
    with (tmp_path / "log").open("w+", encoding="utf-8") as log:
        yield Diary(log)
        log.seek(0)
        print(log.read())  # noqa: T201


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of its own."""
    with FILE_SYSTEMS[0].disk() as disk:
        yield disk
        subprocess.run(["chattr", "-R", "-f", "-i", disk], check=False, capture_output=True)


def times(count: int) -> Callable[[], bool]:
    """Is over after having been asked so many times."""
    asked = itertools.count()
    return lambda: next(asked) >= count


@pytest.mark.needs_root
def test_a_device_loses_nothing(disk: Path, diary: Diary) -> None:
    device_life(disk, SEED, diary, times(sum(STEPS.values()) + 2))
    assert diary.faults == 0, diary.table("device")
    assert {step.__name__.replace("_", " ") for step in STEPS} == set(diary.steps)


def test_a_server_loses_nothing(tmp_path: Path, diary: Diary) -> None:
    server_life(tmp_path, SEED, diary, times(ROUNDS))
    assert diary.faults == 0, diary.table("server")
    assert diary.steps["rest"] == ROUNDS


def lose_object(device: Device) -> None:
    live = repositories.nodes(device.sysroot.repo, device.refs[BRANCH])
    repositories.object_path(device.sysroot.repo, max(min(live.values()))).unlink()


def lose_ref(device: Device) -> None:
    device.sysroot.ostree("refs", "--delete", BRANCH)


def lose_content(device: Device) -> None:
    file = device.sysroot.deployment(device.booted.split(".")[0]) / "usr" / "share" / "1" / "1"
    # Not in the object that it is linked to, which `ostree fsck` would notice.
    file.unlink()
    file.write_text("changed", encoding="ascii")


def lose_stamp(device: Device) -> None:
    device.stamp()
    device.sysroot.stamp.unlink()


def lose_own(device: Device) -> None:
    (device.sysroot.path / "ostree/deploy/other/var/data").unlink()


def leave_garbage(device: Device) -> None:
    device.orphan()
    expected = device.reference(lambda copy: copy.admin("cleanup"))
    device.cleaned(run("true"), expected)


def remove_too_much(device: Device) -> None:
    device.orphan()
    expected = device.reference(lambda copy: copy.path)
    device.sysroot.admin("cleanup")
    device.cleaned(run("true"), expected, complete=False)


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lose_object, "object"),
        (lose_ref, "ref"),
        (lose_content, "checkout"),
        (lose_stamp, "stamp"),
        (lose_own, "somebody's own"),
        (leave_garbage, "objects"),
        (remove_too_much, "objects"),
    ],
)
def test_a_device_notices(
    disk: Path, diary: Diary, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Device], None], kind: str
) -> None:
    monkeypatch.setattr(soak, "STEPS", {fault: 1})
    device_life(disk, SEED, diary, times(100))
    assert diary.steps.total() == 1
    faults = diary.differences if fault is leave_garbage else diary.losses
    assert faults[kind] == 1, diary.table("device")


def lose_head(server: Server) -> None:
    head = server.promises["main"][0]
    repositories.object_path(server.repo, f"{head}.commit").unlink()


def lose_file(server: Server) -> None:
    (*_, (file,)) = repositories.nodes(server.repo, server.promises["main"][0]).values()
    repositories.object_path(server.repo, f"{file}z").unlink()


def lose_server_ref(server: Server) -> None:
    server.ostree("refs", "--delete", "main")


def lose_delta_part(server: Server) -> None:
    server.ostree("static-delta", "generate", "--empty", "--to=main")
    (part,) = server.repo.glob("deltas/*/*/0")
    part.unlink()


def lose_delta(server: Server) -> None:
    head = server.promises["main"][0]
    server.deltas[head] = head


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lose_head, "head"),
        (lose_file, "head"),
        (lose_server_ref, "ref"),
        (lose_delta_part, "delta"),
        (lose_delta, "delta"),
    ],
)
def test_a_server_notices(
    tmp_path: Path, diary: Diary, monkeypatch: pytest.MonkeyPatch, fault: Callable[[Server], None], kind: str
) -> None:
    def plant(server: Server, _number: int) -> None:
        fault(server)
        server.rest()

    monkeypatch.setattr(soak, "a_round", plant)
    server_life(tmp_path, SEED, diary, times(100))
    assert diary.losses[kind] == 1, diary.table("server")
