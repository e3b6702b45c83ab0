"""Checkouts that no deployment needs go, all of them, whatever is in them; and nothing goes with them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from ostree_sweep import CancellationToken, OperationCancelled, PartialCleanupError
from support import repositories
from support.checkouts import (
    attempt,
    bound,
    dig,
    fill_with_links,
    leave,
    name_of,
    next_root,
    origin_of,
    writable,
)
from support.crash import FILE_SYSTEMS, LONG, SLOWLY, killable
from support.sysroots import BRANCH, COMMAND, ENOUGH_S, Sysroot, locked, output, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ostree_sweep import Progress

pytestmark = pytest.mark.needs_root

# How late a busy machine lets a process run is not ours to say.
PROMPT_S = 2


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A file system that knows attributes, in memory."""
    (ext4, *_) = FILE_SYSTEMS
    with ext4.disk() as disk:
        yield disk


@pytest.fixture
def place(disk: Path) -> Iterator[Path]:
    """Where sysroots may be made. All is removed, and no mount may be left."""
    place = disk / "place"
    place.mkdir()
    yield place
    assert str(place) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    subprocess.run(["chattr", "-R", "-f", "-i", "-a", place], check=False, capture_output=True)
    output("rm", "-rf", place)


@pytest.fixture
def sysroot(place: Path) -> Sysroot:
    """A sysroot with two deployments, a commit that nothing leads to, and a stamp."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    sysroot.deploy(2)
    sysroot.commit(9, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    sysroot.stamp.touch()
    return sysroot


@pytest.fixture
def checkout(sysroot: Sysroot) -> Path:
    """One unused checkout in the sysroot."""
    return leave(sysroot, 7, newest(sysroot))


def newest(sysroot: Sysroot) -> str:
    return sysroot.ostree("rev-parse", BRANCH).strip()


def assert_cleans_as_ostree(sysroot: Sysroot, booted: str | None = None) -> None:
    """Cleans up a sysroot, and a copy by `ostree`, and compares.

    Args:
        sysroot: has a stamp.
        booted: checksum of the commit whose deployment is booted, if one is.
    """
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    told = json.loads(attempt(sysroot, "--dry-run", "--json").stdout)["deployments_removed"]
    before = sysroot.state().deployments
    if booted is None:
        reference.admin("cleanup")
        done = attempt(sysroot, "--json")
    else:
        reference.boot(booted, "ostree", "admin", "cleanup")
        done = sysroot.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full", "--json")
    assert done.returncode == 0, done.stderr
    assert sysroot.state() == reference.state()
    assert not sysroot.stamp.exists()
    sysroot.ostree("fsck")
    removed = json.loads(done.stdout)["deployments_removed"]
    assert removed == sorted(name_of(Path(path)) for path in before - sysroot.state().deployments)
    assert told == removed


def assert_clean(sysroot: Sysroot) -> None:
    """Fails if anything is left that should have gone."""
    status = sysroot.admin("status")
    assert sorted(sysroot.state().deployments) == sorted(
        str(path.relative_to(sysroot.path))
        for path in sysroot.path.glob("ostree/deploy/*/deploy/*.?")
        if f"{path.name}" in status
    )
    origins = [path.name for path in sysroot.path.glob("ostree/deploy/*/deploy/*.origin")]
    assert sorted(origins) == sorted(f"{Path(path).name}.origin" for path in sysroot.state().deployments)
    sysroot.ostree("fsck")


@pytest.mark.parametrize("boot", [False, True], ids=["offline", "booted"])
def test_a_pending_deployment_stays_and_unused_ones_go(place: Path, boot: bool) -> None:
    sysroot = Sysroot.create(place / "sysroot", "os", "other")
    sysroot.deploy(1, stateroot="other", branch="other/stable")
    booted = sysroot.deploy(1)
    pending = sysroot.deploy(2)
    for serial in (3, 4):
        leave(sysroot, serial, pending)
    leave(sysroot, 5, booted)
    leave(sysroot, 6, sysroot.ostree("rev-parse", "other/stable").strip())
    sysroot.stamp.touch()
    assert_cleans_as_ostree(sysroot, booted if boot else None)
    assert len(sysroot.state().deployments) == 3


def test_what_a_failed_finalization_left_goes(place: Path) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    checksum = sysroot.commit(3)
    sysroot.boot(
        booted,
        f"ostree admin deploy --stage {BRANCH}\n"
        f"touch /etc/added; chattr +i /sysroot/ostree/deploy/os/deploy/{checksum}.0/etc\n"
        "if ostree admin finalize-staged; then exit 9; fi\n"
        "! test -e /run/ostree/staged-deployment",
    )
    assert len(sysroot.state().deployments) == 3
    sysroot.stamp.touch()
    assert_cleans_as_ostree(sysroot, booted)
    assert len(sysroot.state().deployments) == 2


@pytest.mark.parametrize("unlinked", [0, 1, 2, 50])
def test_what_an_interrupted_cleanup_left_goes(sysroot: Sysroot, unlinked: int) -> None:
    """The one that libostree was at may have no origin any more, and the other is whole."""
    checkouts = [leave(sysroot, serial, newest(sysroot)) for serial in (7, 8)]
    trace = ["strace", "-f", "-qq", "-e", "trace=unlinkat"]
    undisturbed = sysroot.copy(sysroot.path.with_name("undisturbed"))
    log = sysroot.path.with_name("log")
    output(*trace, "-o", log, "ostree", "admin", f"--sysroot={undisturbed.path}", "cleanup")
    calls = log.read_text(encoding="utf-8").splitlines()
    origin = next(number for number, call in enumerate(calls, 1) if ".origin" in call)

    kill = f"inject=unlinkat:signal=KILL:when={origin + unlinked}"
    admin = ["ostree", "admin", f"--sysroot={sysroot.path}", "cleanup"]
    subprocess.run([*trace, "-o", log, "-e", kill, *admin], check=False, capture_output=True)
    assert all(checkout.exists() for checkout in checkouts)
    assert len([checkout for checkout in checkouts if origin_of(checkout).exists()]) == (
        2 if unlinked == 0 else 1
    )
    assert_cleans_as_ostree(sysroot)


def test_the_staged_deployment_stays_whatever_the_sysroot_is_called(place: Path) -> None:
    """At `/` only libostree knows of it."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    unused = leave(sysroot, 7, booted)
    staged = sysroot.commit(3)
    sysroot.boot(
        booted,
        f"ostree admin deploy --stage {BRANCH}\n"
        f"mkdir /sysroot/ostree/deploy/os/deploy/{unused.name}\n"
        f"ostree refs --delete {BRANCH}\n"
        f"{COMMAND} cleanup --sysroot=/sysroot\n"
        f"test ! -e /sysroot/ostree/deploy/os/deploy/{unused.name}\n"
        "ostree admin finalize-staged\n",
    )
    assert sysroot.deployment(staged).is_dir()
    assert f"{staged}.0" in sysroot.admin("status")
    sysroot.ostree("fsck")


@pytest.mark.parametrize("how", ["nextroot-booted", "nextroot"])
def test_the_target_of_a_soft_reboot_stays(sysroot: Sysroot, how: str) -> None:
    """Even if no boot entry leads to it."""
    target, other = (leave(sysroot, serial, newest(sysroot)) for serial in (7, 8))
    inside = Path("/sysroot") / target.relative_to(sysroot.path)
    if how == "nextroot":
        prepare = f"mkdir /run/nextroot; mount --bind {inside} /run/nextroot"
    else:
        (sysroot.path / "boot" / "next").write_bytes(next_root(target))
        prepare = "cp /boot/next /run/ostree/nextroot-booted"
    script = f"{prepare}\n{COMMAND} cleanup --auto --impact=full --json"
    done = sysroot.boot(newest(sysroot), script, check=False)
    assert done.returncode == 3
    report = json.loads(done.stdout)["report"]
    assert [failure["path"] for failure in report["failures"]] == [str(target.relative_to(sysroot.path))]
    assert (target / "usr" / "lib" / "os-release").exists()
    assert origin_of(target).exists()
    assert not other.exists()
    assert report["objects_pruned"] > 0
    assert sysroot.stamp.exists()
    (sysroot.path / "boot" / "next").unlink(missing_ok=True)
    assert attempt(sysroot).returncode == 0
    assert_clean(sysroot)


def test_what_says_nothing_intelligible_of_the_next_root_is_an_error(
    sysroot: Sysroot, checkout: Path
) -> None:
    before = sysroot.objects()
    script = f"echo nonsense > /run/ostree/nextroot-booted\n{COMMAND} cleanup --auto"
    done = sysroot.boot(newest(sysroot), script, check=False)
    assert done.returncode == 1
    assert "nextroot-booted" in done.stderr
    assert checkout.exists()
    assert sysroot.objects() == before


def test_attributes_are_in_nobodys_way(sysroot: Sysroot, checkout: Path) -> None:
    second = leave(sysroot, 8, newest(sysroot))
    with writable(checkout):
        (checkout / "usr" / "own").touch()
        (checkout / "usr" / "log").touch()
        (checkout / "usr" / "empty").mkdir()
    output("chattr", "+a", checkout / "usr" / "log")
    shared = sysroot.deployment(newest(sysroot)) / "usr" / "share" / "3" / "1"
    assert shared.samefile(checkout / shared.relative_to(shared.parents[3]))
    output(
        "chattr",
        "+i",
        checkout / "usr" / "own",
        checkout / "usr" / "empty",
        checkout / "usr" / "share",
        shared,
    )
    output("chattr", "+i", origin_of(second))
    (garbage, *_) = sysroot.objects() - live_objects(sysroot)
    output("chattr", "+i", sysroot.repo / "objects" / garbage[:2] / garbage[2:])

    done = attempt(sysroot, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["deployments_removed"] == [name_of(checkout), name_of(second)]
    assert garbage not in sysroot.objects()
    assert "i" in output("lsattr", shared).split()[0], "a live file has lost its attribute"
    assert_clean(sysroot)


def live_objects(sysroot: Sysroot) -> frozenset[str]:
    commits = {Path(path).name.split(".")[0] for path in sysroot.state().deployments}
    deployed = (commit for commit in commits if f"{commit}.commit" in sysroot.objects())
    return frozenset[str]().union(*(sysroot.objects_of(commit) for commit in deployed))


@pytest.mark.parametrize("where", ["usr", "usr/share/3/1", ""], ids=["directory", "file", "root"])
def test_what_is_mounted_survives_and_is_named(sysroot: Sysroot, checkout: Path, where: str) -> None:
    """The rest is cleaned up, and once it is unmounted all is."""
    others = [leave(sysroot, serial, newest(sysroot)) for serial in (6, 8)]
    # Of the same file system: the device number tells nothing.
    precious = sysroot.path.with_name("precious")
    precious.mkdir()
    (precious / "kept").write_text("precious", encoding="ascii")
    (precious / "below").mkdir()
    (precious / "below" / "kept").write_text("precious", encoding="ascii")
    target = checkout / where
    dead = sysroot.objects() - live_objects(sysroot)

    with bound(precious / "kept" if target.is_file() else precious, target):
        done = attempt(sysroot, "--json")
        assert done.returncode == 3, done.stdout + done.stderr
        report = json.loads(done.stdout)["report"]
        named = [failure["path"] for failure in report["failures"]]
        assert str(target.relative_to(sysroot.path)) in named
        assert len(list(precious.rglob("*"))) == 3
        assert not any(other.exists() or origin_of(other).exists() for other in others)
        assert report["deployments_removed"] == [name_of(other) for other in others]
        # Origin and tree go together.
        assert origin_of(checkout).exists() == (where == "")
        assert not any(path.is_file() for path in checkout.glob("usr/lib/*/*"))
        assert not dead & sysroot.objects()
        assert sysroot.stamp.exists()
        sysroot.admin("status")
        lines = attempt(sysroot)
        assert lines.returncode == 3
        assert f"cannot remove {target.relative_to(sysroot.path)}" in lines.stderr
    assert (precious / "below" / "kept").read_text(encoding="ascii") == "precious"

    assert attempt(sysroot).returncode == 0
    assert not sysroot.stamp.exists()
    assert not checkout.exists()
    assert_clean(sysroot)


def test_old_deployment_refs_count_as_long_as_they_are_there(sysroot: Sysroot, checkout: Path) -> None:
    """Whatever keeps libostree from deleting them, what they lead to stays with them."""
    old = sysroot.commit(8, "old")
    sysroot.ostree("refs", "--create=ostree/0/0/7", old)
    sysroot.ostree("refs", "--delete", "old")
    kept = sysroot.objects_of(old)
    directory = sysroot.repo / "refs" / "heads" / "ostree" / "0" / "0"
    output("chattr", "+i", directory)
    assert attempt(sysroot).returncode == 3
    assert kept <= sysroot.objects()
    assert not checkout.exists()
    for commit in repositories.refs(sysroot.repo).values():
        sysroot.ostree("ls", "-R", commit)
    assert sysroot.stamp.exists()
    output("chattr", "-i", directory)
    assert attempt(sysroot).returncode == 0
    assert f"{old}.commit" not in sysroot.objects()
    assert_clean(sysroot)


def test_a_commit_has_its_new_ref_before_it_loses_the_old_one(sysroot: Sysroot) -> None:
    """A prune by refs alone may come between: nothing but these keeps what deployments need from it."""
    heads = sysroot.repo / "refs" / "heads" / "ostree"
    current = {path: path.read_text(encoding="ascii") for path in heads.rglob("*") if path.is_file()}
    (directory,) = {path.parent for path in current}
    other = next(heads / version for version in ("0/0", "0/1") if heads / version != directory)
    other.mkdir(parents=True, exist_ok=True)
    for path in current:
        path.rename(other / path.name)
    output("chattr", "+i", directory)
    assert attempt(sysroot).returncode == 3
    assert {path.name for path in other.iterdir()} == {path.name for path in current}
    output("chattr", "-i", directory)
    assert attempt(sysroot).returncode == 0
    assert {path: path.read_text(encoding="ascii") for path in heads.rglob("*") if path.is_file()} == current
    assert_clean(sysroot)


def test_an_origin_that_can_not_be_deleted_keeps_its_checkouts_directory(
    sysroot: Sysroot, checkout: Path
) -> None:
    """Without that, nobody would find the origin."""
    other = leave(sysroot, 8, newest(sysroot))
    origin = origin_of(checkout)
    origin.unlink()
    origin.mkdir()
    done = attempt(sysroot)
    assert done.returncode == 3
    assert f"cannot remove {origin.relative_to(sysroot.path)}" in done.stderr
    assert list(checkout.iterdir()) == []
    assert not other.exists()
    origin.rmdir()
    origin.touch()
    assert attempt(sysroot).returncode == 0
    assert not checkout.exists()
    assert_clean(sysroot)


def test_the_root_of_the_one_who_cleans_up_stays(sysroot: Sysroot, checkout: Path) -> None:
    """Even if nothing says that the system was booted from it, and no boot entry leads to it."""
    before = names_below(checkout / "usr" / "share")
    script = f"rm /run/ostree-booted\n{COMMAND} cleanup --impact=full --sysroot=/sysroot --json"
    done = sysroot.boot(checkout.name.partition(".")[0], script, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    (failure,) = json.loads(done.stdout)["report"]["failures"]
    assert failure["path"] == str(checkout.relative_to(sysroot.path))
    assert names_below(checkout / "usr" / "share") == before
    assert origin_of(checkout).exists()
    assert attempt(sysroot).returncode == 0
    assert_clean(sysroot)


def test_symlinks_are_removed_and_not_followed(sysroot: Sysroot, checkout: Path) -> None:
    outside = sysroot.path.with_name("outside")
    outside.mkdir()
    (outside / "file").touch()
    with writable(checkout):
        (checkout / "usr" / "away").symlink_to(outside)
        (checkout / "usr" / "up").symlink_to("../../../..")
        (checkout / "usr" / "file").symlink_to(outside / "file")
    linked = checkout.with_name("0" * 64 + ".0")
    linked.symlink_to(outside)
    backing = sysroot.path / "ostree" / "deploy" / "os" / "backing"
    # Libostree makes it since 2024.1.
    backing.mkdir(exist_ok=True)
    aside = backing.rename(backing.with_name("aside"))
    backing.symlink_to(outside)
    (outside / checkout.name).mkdir()
    done = attempt(sysroot)
    assert done.returncode == 1
    backing.unlink()
    aside.rename(backing)
    assert attempt(sysroot).returncode == 0
    assert not checkout.exists()
    assert linked.is_symlink()
    assert {path.name for path in outside.iterdir()} == {"file", checkout.name}


def test_the_backing_directory_goes_too(sysroot: Sysroot, checkout: Path) -> None:
    backing = sysroot.path / "ostree" / "deploy" / "os" / "backing"
    kept = backing / sysroot.deployment(newest(sysroot)).name
    for each in (backing / checkout.name, kept):
        (each / "root-transient" / "upper").mkdir(parents=True, exist_ok=True)
    assert attempt(sysroot).returncode == 0
    assert kept in backing.iterdir()
    assert not (backing / checkout.name).exists()
    assert (kept / "root-transient" / "upper").is_dir()


@pytest.mark.parametrize("jobs", [1, 4])
def test_few_descriptors_are_enough(sysroot: Sysroot, checkout: Path, jobs: int) -> None:
    with writable(checkout):
        dig(checkout, 3000)
        fill_with_links(checkout / "usr" / "wide", 100_000 if jobs == 1 else 1000)
    command = ["prlimit", "--nofile=64", COMMAND, "cleanup", f"--jobs={jobs}", f"--sysroot={sysroot.path}"]
    output(*command)
    assert not checkout.exists()
    assert_clean(sysroot)


@pytest.mark.parametrize("repo", ["/ostree/repo", "/sysroot/ostree/repo"])
def test_a_prune_of_the_own_repository_keeps_what_is_staged(place: Path, repo: str) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    booted = sysroot.deploy(1)
    staged = sysroot.commit(2)
    kept = sysroot.objects_of(staged) | sysroot.objects_of(booted)
    orphan = sysroot.commit(3, "test")
    sysroot.ostree("refs", "--delete", "test")
    sysroot.boot(
        booted,
        f"ostree admin deploy --stage {BRANCH}\n"
        f"ostree refs --delete {BRANCH}\n"
        "ostree refs --delete ostree/0; ostree refs --delete ostree/1\n"
        f"ostree refs --create=booted {booted}\n"
        f"{COMMAND} prune --refs-only --depth=0 --repo={repo}\n"
        "ostree admin finalize-staged\n",
    )
    assert kept <= sysroot.objects()
    assert f"{orphan}.commit" not in sysroot.objects()
    assert sysroot.deployment(staged).is_dir()


@pytest.mark.parametrize(
    "options", ["--refs-only --depth=0", "--refs-only --no-prune", "--delete-commit={booted}"]
)
def test_the_booted_commit_is_never_deleted(sysroot: Sysroot, options: str) -> None:
    """Whatever became of the refs."""
    booted = newest(sysroot)
    before = sysroot.objects()
    done = sysroot.boot(
        booted,
        f"for ref in $(ostree refs); do ostree refs --delete $ref; done\n"
        f"{COMMAND} prune {options.format(booted=booted)} --repo=/ostree/repo",
        check=False,
    )
    assert done.returncode == 1
    assert booted in done.stderr
    assert sysroot.objects() == before


BESIDE_THREADS = """
import json, os, threading
import ostree_sweep

def mounts():
    with open(f"/proc/self/task/{threading.get_native_id()}/mountinfo") as file:
        return file.read(), os.readlink(f"/proc/self/task/{threading.get_native_id()}/ns/mnt")

def watch():
    seen.append(mounts())
    ready.wait()
    over.wait()
    seen.append(mounts())

seen, over, ready = [mounts()], threading.Event(), threading.Barrier(5)
threads = [threading.Thread(target=watch) for _ in range(4)]
for thread in threads:
    thread.start()
ready.wait()
report = ostree_sweep.cleanup("/")
seen.append(mounts())
over.set()
for thread in threads:
    thread.join()
print(json.dumps({"looks": len(seen), "mounts": len(set(seen)), "removed": report.deployments_removed}))
"""


def test_mounts_stay_as_they_are_where_nothing_is_writable(sysroot: Sysroot, checkout: Path) -> None:
    read_only = "mount -o remount,bind,ro /sysroot; mount -o remount,bind,ro /boot\n"
    program = shlex.join([sys.executable, "-c", BESIDE_THREADS])
    done = sysroot.boot(newest(sysroot), read_only + program)
    assert json.loads(done.stdout) == {"looks": 10, "mounts": 1, "removed": [name_of(checkout)]}
    assert_clean(sysroot)


def test_where_nothing_may_be_remounted_nothing_is_done(sysroot: Sysroot, checkout: Path) -> None:
    before = sysroot.listing()
    done = sysroot.boot(
        newest(sysroot),
        "mount -o remount,bind,ro /sysroot\n"
        f"setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin {COMMAND} cleanup --auto",
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert checkout.exists()
    assert sysroot.listing() == before


def test_a_removal_killed_before_any_step_is_finished_by_the_next(sysroot: Sysroot, checkout: Path) -> None:
    """Until the last step there is a checkout for libostree and us to find."""
    after = sysroot.copy(sysroot.path.with_name("after"))
    after.admin("cleanup")
    # The origin, all that is in the checkout, and the checkout.
    removal = len(names_below(checkout)) + 2
    steps = range(1, removal + 9) if LONG else (1, 2, 3, removal // 2, removal - 1, removal, removal + 1)
    for number in steps:
        trial = sysroot.copy(sysroot.path.with_name("trial"), linked=True)
        killed = killable("cleanup", trial.path, kill=f"unlink:{number}") != 0
        assert killed
        trial.admin("status")
        left = trial.path / checkout.relative_to(sysroot.path)
        assert left.exists() or not origin_of(left).exists()
        trial.ostree("fsck")
        if number % 2:
            killable("cleanup", trial.path)
            assert trial.state() == after.state()
        else:
            trial.admin("cleanup")
            assert trial.state().deployments == after.state().deployments
        trial.remove()


def test_others_get_in_between(sysroot: Sysroot, checkout: Path) -> None:
    """A slow removal is no hindrance to looking, nor to an updater, whose deployment stays."""
    with writable(checkout):
        fill_with_links(checkout / "usr" / "wide", 1000)
    process = started(*SLOWLY, COMMAND, "cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
    looks = 0
    while len(list((checkout / "usr" / "wide").glob("*"))) in (0, 1000) and process.poll() is None:
        sysroot.admin("status")
        looks += 1
    checksum = sysroot.deploy(3)
    assert process.poll() is None, "the deployment has waited for the cleanup's end"
    while process.poll() is None:
        sysroot.admin("status")
        looks += 1
    assert process.communicate(timeout=ENOUGH_S)[1] == ""
    assert process.returncode == 0
    assert looks > 1
    assert sysroot.deployment(checksum).is_dir()
    assert not checkout.exists()
    assert_clean(sysroot)


def test_what_is_deployed_again_meanwhile_is_left_alone(sysroot: Sysroot) -> None:
    """As a deployment without boot link and entry is none, until they are back."""
    (deployed,) = (
        path for path in sysroot.path.glob("ostree/deploy/os/deploy/*.0") if newest(sysroot) not in path.name
    )
    with writable(deployed):
        fill_with_links(deployed / "usr" / "wide", 1000)
    # Since libostree 2024.5 it does not name the stateroot.
    (entry,) = sysroot.path.glob("boot/loader/entries/ostree-1*.conf")
    before = names_below(deployed)
    content = entry.read_text(encoding="utf-8")
    entry.unlink()
    (link,) = (
        path for path in sysroot.path.glob("ostree/boot.[01]/os/*/?") if path.readlink().name == deployed.name
    )
    target = link.readlink()
    link.unlink()
    process = started(*SLOWLY, COMMAND, "cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
    while len(names_below(deployed)) > len(before) - 10:
        assert process.poll() is None
    with locked(sysroot.path / "ostree" / "lock", wait=True):
        assert process.poll() is None
        link.symlink_to(target)
        entry.write_text(content, encoding="utf-8")
        left = names_below(deployed)
        assert left
    process.communicate()
    assert process.returncode == 0
    assert names_below(deployed) == left


def names_below(directory: Path) -> list[str]:
    """All that is there; what vanishes meanwhile may be missing."""
    return sorted(f"{at}/{name}" for at, below, files in os.walk(directory) for name in (*below, *files))


def test_a_cancelled_removal_stops_soon_and_is_finished_by_the_next(sysroot: Sysroot, checkout: Path) -> None:
    done = leave(sysroot, 6, newest(sysroot))
    with writable(checkout):
        fill_with_links(checkout / "usr" / "wide", 60_000)
    token = CancellationToken()
    cancelled_at: list[float] = []

    def cancel(progress: Progress) -> None:
        if progress.phase == "deployments" and progress.done == 1 and not cancelled_at:
            cancelled_at.append(time.monotonic())
            token.cancel()

    with pytest.raises(OperationCancelled) as stopped:
        ostree_sweep.auto_cleanup(sysroot.path, cancellable=token, progress=cancel)
    assert time.monotonic() - cancelled_at[0] < PROMPT_S
    report = stopped.value.report
    assert isinstance(report, ostree_sweep.CleanupReport)
    assert report.deployments_removed == (name_of(done),)
    assert report.objects_pruned == 0
    assert checkout.exists()
    assert not origin_of(checkout).exists()
    assert sysroot.stamp.exists()
    sysroot.admin("status")
    assert attempt(sysroot).returncode == 0
    assert_clean(sysroot)


def test_a_partial_cleanup_is_an_error_with_a_report(sysroot: Sysroot, checkout: Path) -> None:
    with bound(sysroot.repo, checkout / "usr"), pytest.raises(PartialCleanupError) as partial:
        ostree_sweep.cleanup(sysroot.path)
    (failure,) = partial.value.report.failures
    assert failure.path == str((checkout / "usr").relative_to(sysroot.path))
    assert failure.error == "it is a mount point"
    sysroot.ostree("fsck")
