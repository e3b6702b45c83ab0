"""Deployments that are held back from finalization, or that a soft reboot leads to; looks change nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.checkouts import leave, next_root
from support.sysroots import BRANCH, COMMAND, PROJECT, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_root

# How finalization is held back: by a file, and since libostree 2023.8 by a key of the staged deployment's.
LOCK_FILE = "/run/ostree/staged-deployment-locked"
LOCKS = {"file": (f"touch {LOCK_FILE}", f"rm {LOCK_FILE}")}
if "lock-finalization" in output("ostree", "admin", "--help"):
    by_key = f"ostree admin deploy --stage --lock-finalization staged; test ! -e {LOCK_FILE}"
    LOCKS["key"] = (by_key, "ostree admin lock-finalization --unlock")

# Where what the running system says of its soft reboot waits for /run to be there.
SAID = "ostree/said"

# Compares all of /run and of the sysroot before and after each look; between the looks' words are `--`.
LOOKS = f"""
import itertools, subprocess, sys
sys.path.insert(0, {str(PROJECT / "tests" / "python")!r})
from pathlib import Path
from support.users import sweep_as
from support.workshop import listing

def snapshot():
    return {{place: listing(Path(place)) for place in ("/run", "/sysroot")}}

for is_separator, words in itertools.groupby(sys.argv[2:], lambda word: word == "--"):
    if not is_separator:
        words = list(words)
        before = snapshot()
        if sys.argv[1] == "root":
            done = subprocess.run([{str(COMMAND)!r}, *words], capture_output=True, text=True)
        else:
            done = sweep_as(*words)
        # 3: the soft reboot's target stays, though no deployment is listed for it.
        assert done.returncode in (0, 3), (words, done)
        after = snapshot()
        for place in before:
            differ = {{name for name in before[place].keys() | after[place].keys()
                       if before[place].get(name) != after[place].get(name)}}
            assert not differ, (words, place, differ)
"""


@pytest.fixture
def sysroot(tmp_path: Path) -> Iterator[Sysroot]:
    """A sysroot with two deployments, and a commit that nothing leads to."""
    sysroot = Sysroot.create(tmp_path / "sysroot", directories=2)
    sysroot.deploy(1)
    sysroot.deploy(2)
    drop(sysroot)
    yield sysroot
    # Whoever removes the temporary directory does not expect that deployments are immutable.
    subprocess.run(["chattr", "-R", "-f", "-i", sysroot.path], check=False, capture_output=True)


def drop(sysroot: Sysroot) -> None:
    """Makes garbage."""
    sysroot.commit(9, "dead")
    sysroot.ostree("refs", "--delete", "dead")


def newest(sysroot: Sysroot) -> str:
    return sysroot.ostree("rev-parse", BRANCH).strip()


def flags(status: dict[str, Any]) -> list[set[str]]:
    """What is true of each deployment."""
    return [{name for name, value in each.items() if value is True} for each in status["deployments"]]


def looked(sysroot: Sysroot, *steps: str) -> list[dict[str, Any]]:
    """The status after each step, while the newest deployment is booted, and at last what a person sees.

    A cleanup then has to free what the last status said.
    """
    look = f"{COMMAND} status --json; echo; "
    script = "".join(f"{{ {step}; }} >&2; {look}" for step in steps)
    done = sysroot.boot(
        newest(sysroot), f"{script} {COMMAND} cleanup --impact=full --json; {COMMAND} status >&2"
    )
    *statuses, report = map(json.loads, filter(None, done.stdout.splitlines()))
    told, freed = statuses[-1]["reclaimable"], report
    assert (told["objects"], told["bytes"]) == (freed["objects_pruned"], freed["bytes_freed"])
    assert told["objects"] > 0
    return [*statuses, {"text": done.stderr}]


@pytest.mark.parametrize("how", LOCKS)
def test_a_staged_deployment_that_is_held_back_is_named(sysroot: Sysroot, how: str) -> None:
    lock, unlock = LOCKS[how]
    booted = newest(sysroot)
    staged = sysroot.commit(3)
    sysroot.ostree("refs", "--create=staged", staged)
    # What is booted is what this branch leads to.
    sysroot.ostree("reset", BRANCH, booted)
    stage = "ostree admin deploy --stage staged"
    free, held, text = looked(sysroot, f"{stage}; {lock}; {unlock}", lock)
    assert ["finalization_locked" in each for each in flags(free)] == [False] * 3
    assert flags(held)[0] >= {"staged", "finalization_locked"}
    assert ["finalization_locked" in each for each in flags(held)] == [True, False, False]
    assert "staged, pending, finalization locked" in text["text"]


@pytest.mark.parametrize("user", ["root", "user"])
@pytest.mark.parametrize("whose", ["own", "other"])
def test_a_look_changes_nothing_not_even_in_run(sysroot: Sysroot, whose: str, user: str) -> None:
    """No sysroot here has a boot entry for the soft reboot's target, so libostree takes it for stale."""
    booted = newest(sysroot)
    target = leave(sysroot, 7, booted)
    (sysroot.path / SAID).write_bytes(next_root(target))
    other = Sysroot.create(sysroot.path / "other", directories=2)
    other.deploy(1)
    drop(other)
    path = {"own": "/sysroot", "other": "/sysroot/other"}[whose]
    repo = f"{path}/ostree/repo"
    looks = (
        ["status", f"--sysroot={path}"],
        ["status", "--json", f"--sysroot={path}"],
        ["du", f"--sysroot={path}"],
        ["why", booted if whose == "own" else newest(other), f"--sysroot={path}"],
        ["plan", f"--sysroot={path}", "--output=/tmp/plan"],
        ["cleanup", "--dry-run", f"--sysroot={path}"],
        ["prune", "--dry-run", f"--repo={repo}"],
    )
    words = " -- ".join(" ".join(look) for look in looks)
    (sysroot.path / "ostree" / "looks").write_text(LOOKS, encoding="utf-8")
    script = (
        f"cp /sysroot/{SAID} /run/ostree/nextroot-booted\n"
        f"{sys.executable} -B /sysroot/ostree/looks {user} {words}\n"
        f"cmp /sysroot/{SAID} /run/ostree/nextroot-booted\n"
    )
    sysroot.boot(booted, script)


def test_a_soft_reboot_is_named_until_it_is_complete(sysroot: Sysroot) -> None:
    booted = newest(sysroot)
    (target,) = (path for path in sysroot.path.glob("ostree/deploy/os/deploy/*.?") if booted not in path.name)
    (sysroot.path / SAID).write_bytes(next_root(target))
    inside = Path("/sysroot") / target.relative_to(sysroot.path)
    mount = f"mkdir /run/nextroot; mount --bind {inside} /run/nextroot"
    prepare = f"{mount}; cp /sysroot/{SAID} /run/ostree/nextroot-booted"
    nothing, prepared, done, text = looked(sysroot, ":", prepare, "umount /run/nextroot")
    states = {"soft_reboot_prepared", "soft_reboot_incomplete"}
    (index,) = (each["index"] for each in nothing["deployments"] if each["checksum"] in target.name)
    assert [each & states for each in flags(nothing)] == [set(), set()]
    for status, state in ((prepared, "soft_reboot_prepared"), (done, "soft_reboot_incomplete")):
        assert flags(status)[index] & states == {state}
        assert flags(status)[1 - index] & states == set()
    assert "soft reboot incomplete" in text["text"]
