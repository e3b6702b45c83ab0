"""A plan made when an update is staged, and applied at the shutdown or after it.

What `ostree admin cleanup` leaves is left, and no dirtree is opened for it.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from ostree_sweep import StalePlanError
from support.checkouts import leave
from support.sysroots import BRANCH, COMMAND, PROJECT, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs_root

# What is done with a plan, that must read no directory's object.
_TRACE = "/var/trace"
TRACED = f"strace -f -qq -o {_TRACE} -e trace=open,openat,openat2,mmap"

STAGE = f"ostree admin deploy --stage {BRANCH}"
PLAN = f"{COMMAND} plan --impact=full"
FINALIZE = "ostree admin finalize-staged"
STAMP = f"{COMMAND} stamp"
APPLY = f"{TRACED} {COMMAND} apply --json"
CLEANUP = f"{TRACED} {COMMAND} cleanup --auto --impact=full --json"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where sysroots may be made; they are removed."""
    yield tmp_path
    for directory in tmp_path.glob("*/ostree"):
        Sysroot(directory.parent).remove()


def dirtrees_opened(sysroot: Sysroot, stateroot: str = "os") -> int:
    trace = sysroot.path / f"ostree/deploy/{stateroot}/{_TRACE}"
    opened = trace.read_text(encoding="utf-8", errors="replace")
    trace.unlink()
    assert "_core" in opened, "nothing was traced"
    return len(re.findall(r"\.dirtree\"", opened))


def assert_plan_does_what_ostree_does(sysroot: Sysroot, booted: str, command: str) -> dict[str, Any]:
    """Applies a sysroot's plan, and cleans up a copy by `ostree`, and compares.

    Returns:
        The command's report.
    """
    reference = sysroot.copy(sysroot.path.with_name("reference"))
    before = sysroot.objects()
    reference.boot(booted, "ostree", "admin", "cleanup")
    report: dict[str, Any] = json.loads(sysroot.boot(booted, command).stdout)
    assert dirtrees_opened(sysroot) == 0
    assert report["by_plan"]
    assert report["unfinished"] is None
    assert report["plan_refused"] is None
    assert report["stamp_removed"]

    # Ours has made its places, and used them up.
    state, expected = sysroot.state(), reference.state()
    assert state.paths == expected.paths - {"ostree/sweep.plan"}
    assert (state.objects, state.refs, state.deployments, state.boot) == (
        expected.objects,
        expected.refs,
        expected.deployments,
        expected.boot,
    )
    assert len(before - state.objects) == report["objects_pruned"]
    sysroot.ostree("fsck")
    return report


def plain(place: Path) -> tuple[Sysroot, str]:
    """An update that was finalized. All return the sysroot, and what is booted after the shutdown."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.commit(3)
    sysroot.boot(booted, f"{STAGE}; {PLAN}; {FINALIZE}; {STAMP}")
    return sysroot, newer


def pinned(place: Path) -> tuple[Sysroot, str]:
    """A deployment was pinned; another one goes."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    second = sysroot.deploy(2)
    sysroot.admin("pin", "1")
    third = sysroot.update(second, 3)
    fourth = sysroot.commit(4)
    sysroot.boot(third, f"{STAGE}; {PLAN}; {FINALIZE}; {STAMP}")
    return sysroot, fourth


def two_stateroots(place: Path) -> tuple[Sysroot, str]:
    """Another stateroot's deployments are nobody's rollback."""
    sysroot = Sysroot.create(place / "sysroot", "os", "other")
    sysroot.deploy(1, stateroot="other", branch="other/stable")
    sysroot.ostree("refs", "--delete", "other/stable")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.commit(3)
    sysroot.boot(booted, f"{STAGE}; {PLAN}; {FINALIZE}; {STAMP}")
    return sysroot, newer


def other_stateroot_updated(place: Path) -> tuple[Sysroot, str]:
    """An update of a stateroot that is not booted; of its deployments that stays which /etc came from."""
    sysroot = Sysroot.create(place / "sysroot", "os", "other")
    sysroot.deploy(1, stateroot="other", branch="other/stable")
    sysroot.deploy(2, stateroot="other", branch="other/stable")
    booted = sysroot.deploy(1)
    sysroot.commit(3, "other/stable")
    sysroot.boot(booted, f"ostree admin deploy --stage --os=other other/stable; {PLAN}; {FINALIZE}; {STAMP}")
    return sysroot, booted


def rollback_that_was_staged(place: Path) -> tuple[Sysroot, str]:
    """What is rolled back from was staged once, and so was what is rolled back to."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    second = sysroot.deploy(2)
    third = sysroot.update(second, 3)
    fourth = sysroot.update(third, 4)
    sysroot.commit(5)
    sysroot.boot(third, f"{STAGE}; {PLAN}; {FINALIZE}; {STAMP}")
    assert fourth != third
    return sysroot, third


def replaced(place: Path) -> tuple[Sysroot, str]:
    """Before the reboot came another update; the updater planned anew."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newest = sysroot.commit(4)
    newer = sysroot.commit(3, "other")
    sysroot.boot(
        booted,
        f"ostree admin deploy --stage {newer}; {PLAN}; ostree refs --delete other\n"
        f"{STAGE}; {PLAN}; {FINALIZE}; {STAMP}",
    )
    return sysroot, newest


def failed(place: Path) -> tuple[Sysroot, str]:
    """Finalization failed, so the deployment to be dropped is still there, and something else is garbage."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.commit(9, "garbage")
    sysroot.ostree("refs", "--delete", "garbage")
    sysroot.commit(3)
    # libostree can't write what is to be booted.
    output("chattr", "+i", sysroot.path / "boot")
    sysroot.boot(booted, f"{STAGE}; {PLAN}; ! {FINALIZE} 2>&1; {STAMP}")
    output("chattr", "-i", sysroot.path / "boot")
    return sysroot, booted


@pytest.mark.parametrize(
    ("prepare", "command"),
    [
        (plain, APPLY),
        (plain, CLEANUP),
        (pinned, APPLY),
        (two_stateroots, CLEANUP),
        (other_stateroot_updated, APPLY),
        (rollback_that_was_staged, CLEANUP),
        (replaced, APPLY),
        (failed, APPLY),
        (failed, CLEANUP),
    ],
)
def test_a_plan_frees_what_ostree_frees(
    place: Path, prepare: Callable[[Path], tuple[Sysroot, str]], command: str
) -> None:
    sysroot, booted = prepare(place)
    report = assert_plan_does_what_ostree_does(sysroot, booted, command)
    assert report["objects_pruned"] > 0
    assert (
        sysroot.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full").stdout == "No cleanup needed.\n"
    )


def test_a_plan_is_applied_at_the_shutdown(place: Path) -> None:
    """As the drop-in for finalization does it; the next boot finds nothing to do."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.commit(3)
    reference = sysroot.copy(place / "reference")
    sysroot.boot(
        booted,
        f"{STAGE}; {PLAN}; {FINALIZE}; {STAMP}; {APPLY} --time-budget=60 > /var/report",
    )
    reference.boot(booted, f"{STAGE}; {FINALIZE}; ostree admin cleanup")
    assert dirtrees_opened(sysroot) == 0
    report = json.loads((sysroot.path / "ostree/deploy/os/var/report").read_text(encoding="utf-8"))
    assert report["by_plan"]
    assert report["objects_pruned"] > 0
    assert sysroot.state().objects == reference.state().objects
    assert sysroot.boot(newer, COMMAND, "cleanup", "--auto", "--impact=full").stdout == "No cleanup needed.\n"


def test_out_of_time_the_rest_is_left_to_the_next_boot(place: Path) -> None:
    sysroot, booted = plain(place)
    reference = sysroot.copy(place / "reference")
    before = sysroot.objects()
    stopped = json.loads(sysroot.boot(booted, f"{APPLY} --time-budget=0").stdout)
    assert stopped["unfinished"] == "the time budget is used up"
    assert not stopped["stamp_removed"]
    assert sysroot.objects() == before
    some = json.loads(sysroot.boot(booted, f"{APPLY} --max-freed=1K").stdout)
    assert some["unfinished"] is not None
    assert 0 < some["objects_pruned"] == len(before - sysroot.objects())
    assert sysroot.stamp.exists()
    sysroot.ostree("fsck")

    rest = json.loads(sysroot.boot(booted, CLEANUP).stdout)
    assert dirtrees_opened(sysroot) == 0
    assert rest["by_plan"]
    assert rest["stamp_removed"]
    reference.boot(booted, "ostree", "admin", "cleanup")
    assert sysroot.objects() == reference.objects()


def test_a_plan_that_covers_not_all_is_not_enough(place: Path) -> None:
    """The update that was planned for was replaced. The plan alone frees what it can; a cleanup crawls."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.commit(4)
    planned_for = sysroot.commit(3, "other")
    sysroot.boot(
        booted,
        f"ostree admin deploy --stage {planned_for}; {PLAN}; ostree refs --delete other\n"
        f"{STAGE}; {FINALIZE}; {STAMP}",
    )
    reference = sysroot.copy(place / "reference")
    reference.boot(newer, "ostree", "admin", "cleanup")

    by_plan = json.loads(sysroot.boot(newer, COMMAND, "apply", "--json").stdout)
    assert by_plan["objects_pruned"] > 0
    assert planned_for in by_plan["unfinished"]
    assert sysroot.stamp.exists()
    assert sysroot.objects() > reference.objects()
    sysroot.ostree("fsck")
    by_crawl = json.loads(sysroot.boot(newer, COMMAND, "cleanup", "--auto", "--impact=full", "--json").stdout)
    assert not by_crawl["by_plan"]
    assert planned_for in by_crawl["plan_refused"]
    assert by_crawl["stamp_removed"]
    assert sysroot.objects() == reference.objects()


def test_an_unusable_plan_is_no_obstacle(place: Path) -> None:
    """The reason is told, and the plan stays for who wants to know where it is from."""
    sysroot, booted = plain(place)
    plan = sysroot.path / "ostree" / "sweep.plan"
    plan.write_bytes(plan.read_bytes()[:-1])
    before = sysroot.listing()
    refused = sysroot.boot(booted, COMMAND, "apply", check=False)
    assert refused.returncode == 1
    assert "checksum" in refused.stderr
    assert sysroot.listing() == before

    reference = sysroot.copy(place / "reference")
    reference.boot(booted, "ostree", "admin", "cleanup")
    report = json.loads(sysroot.boot(booted, COMMAND, "cleanup", "--auto", "--impact=full", "--json").stdout)
    assert "checksum" in report["plan_refused"]
    assert not report["by_plan"]
    assert report["stamp_removed"]
    assert sysroot.objects() == reference.objects()
    assert plan.exists()


def test_a_plan_tells_what_each_deployment_accounts_for(place: Path) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    dropped = sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.commit(3)
    before = sysroot.objects()
    told = json.loads(sysroot.boot(booted, f"{STAGE} >&2; {PLAN} --json").stdout)
    assert [commit["commit"] for commit in told["dropped"]] == [dropped]
    assert told["dropped"][0]["names"][0].startswith(f"deployment os {dropped}.0")
    assert told["dropped"][0]["alone"] == {"objects": told["objects"], "bytes": told["bytes"]}
    assert told["path"] == "/sysroot/ostree/sweep.plan"
    assert sysroot.objects() == before
    status = json.loads(output(COMMAND, "status", "--json", f"--sysroot={sysroot.path}"))
    assert status["plan"]["objects"] == told["objects"] > 0


def test_a_plan_drops_what_finalization_drops(place: Path) -> None:
    """What is pinned, booted, or another stateroot's is on no plan; what is on it is what goes."""
    sysroot = Sysroot.create(place / "sysroot", "os", "other")
    other = sysroot.deploy(1, stateroot="other", branch="other/stable")
    sysroot.ostree("refs", "--delete", "other/stable")
    pinned = sysroot.deploy(1)
    dropped = sysroot.deploy(2)
    listed = [line for line in sysroot.admin("status").splitlines() if re.search(r"[0-9a-f]{64}\.\d", line)]
    (index,) = (number for number, line in enumerate(listed) if pinned in line)
    sysroot.admin("pin", f"{index}")
    booted = sysroot.update(dropped, 3)
    newer = sysroot.commit(4)
    told = json.loads(sysroot.boot(booted, f"{STAGE} >&2; {PLAN} --json; {FINALIZE} >&2; {STAMP} >&2").stdout)
    assert [commit["commit"] for commit in told["dropped"]] == [dropped]
    before = sysroot.objects()
    report = json.loads(sysroot.boot(newer, COMMAND, "apply", "--json").stdout)
    assert report["objects_pruned"] == told["objects"] == len(before - sysroot.objects())
    for checksum in (pinned, other, booted, newer):
        assert sysroot.objects_of(checksum) <= sysroot.objects()


def test_a_read_only_sysroot_keeps_its_plan(place: Path) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.ostree("config", "set", "sysroot.readonly", "true")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    newer = sysroot.commit(3)
    read_only = "mount -o remount,bind,ro /sysroot"
    sysroot.boot(booted, f"{STAGE}; {read_only}; {PLAN}; ! touch /sysroot/x 2>&1; {FINALIZE}; {STAMP}")
    report = assert_plan_does_what_ostree_does(sysroot, newer, f"{read_only}; {CLEANUP}")
    assert report["objects_pruned"] > 0


@pytest.mark.parametrize("command", ["cleanup --auto", "cleanup"])
def test_a_plan_is_gone_before_a_crawl_deletes(place: Path, command: str) -> None:
    """Cut off, a crawl leaves objects of a commit that is gone: the plan would seem to cover all."""
    sysroot, _ = plain(place)
    sysroot.commit(9, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    reference = sysroot.copy(place / "reference")
    reference.admin("cleanup")
    before = sysroot.objects()
    kill = ["-e", "trace=unlinkat", "-e", "inject=unlinkat:signal=KILL:when=60"]
    words = [*command.split(), "--impact=full", "--jobs=1", f"--sysroot={sysroot.path}"]
    killed = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", *kill, COMMAND, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(before - sysroot.objects()) > 1

    output(COMMAND, "cleanup", "--auto", "--impact=full", f"--sysroot={sysroot.path}")
    assert sysroot.objects() == reference.objects()
    assert not sysroot.stamp.exists()


def units_sandbox(unit: str) -> str:
    """A script that makes /run read-only but for what a unit may write to, as `ProtectSystem=strict` does."""
    text = (PROJECT / "python" / "ostree_sweep" / "units" / unit).read_text(encoding="ascii")
    (paths,) = re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE)
    script = ""
    for path in paths.split():
        name = path.lstrip("-")
        if name.startswith("/run/"):
            script += f"if test -e {name}; then mount --bind {name} {name}; fi\n"
    return script + "mount -o remount,bind,ro /run\n"


@pytest.mark.parametrize("kept", ["both", "run", "lasting"])
@pytest.mark.parametrize(
    ("unit", "command"),
    [
        ("ostree-sweep-cleanup.service", f"{COMMAND} cleanup --auto --impact=full"),
        ("ostree-sweep-finalized.service", f"{COMMAND} apply --auto --impact=full"),
    ],
)
def test_a_units_sandbox_lets_it_finish(place: Path, unit: str, command: str, kept: str) -> None:
    sysroot, booted = plain(place)
    gone = {"both": "true", "run": "rm /sysroot/ostree/sweep.plan", "lasting": "rm -r /run/ostree-sweep"}
    sysroot.boot(
        booted,
        f"{PLAN}; {gone[kept]}; {STAMP}\n{units_sandbox(unit)}{command}\n! test -e /run/ostree-sweep/plan",
    )
    assert not sysroot.stamp.exists()
    assert not (sysroot.path / "ostree" / "sweep.plan").exists()


def test_a_plan_that_can_t_be_removed_does_not_keep_the_stamp(place: Path) -> None:
    sysroot, booted = plain(place)
    script = f"{PLAN}; {STAMP}; mount -o remount,bind,ro /run\n{COMMAND} cleanup --auto --impact=full --json"
    done = sysroot.boot(booted, script)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["stamp_removed"]
    (warning,) = report["warnings"]
    assert warning == "cannot remove the plan /run/ostree-sweep/plan: Read-only file system"
    assert not sysroot.stamp.exists()


@pytest.mark.parametrize("command", ["cleanup", "cleanup --auto", "apply"])
def test_the_plan_for_a_staged_update_outlives_a_cleanup(place: Path, command: str) -> None:
    """It is for what there is to do once that update is finalized; then it is used, and goes."""
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    booted = sysroot.deploy(2)
    sysroot.commit(3)
    sysroot.boot(
        booted,
        f"{STAGE}; {PLAN}; {STAMP}; {COMMAND} {command} --impact=full\n"
        f"test -e /run/ostree-sweep/plan; {FINALIZE}; {STAMP}",
    )
    assert (sysroot.path / "ostree" / "sweep.plan").exists()
    newer = sysroot.ostree("rev-parse", BRANCH).strip()
    report = assert_plan_does_what_ostree_does(sysroot, newer, CLEANUP)
    assert report["by_plan"]


def test_a_plan_that_was_replaced_since_is_not_applied(place: Path) -> None:
    sysroot = Sysroot.create(place / "sysroot")
    sysroot.deploy(1)
    given = ostree_sweep.plan(sysroot.path)
    sysroot.commit(9, "dead")
    sysroot.ostree("refs", "--delete", "dead")
    ostree_sweep.plan(sysroot.path)
    before = sysroot.objects()
    with pytest.raises(StalePlanError, match="no longer the plan that was given"):
        ostree_sweep.apply(given)
    assert sysroot.objects() == before
    assert (sysroot.path / "ostree" / "sweep.plan").exists()


def test_a_foreign_plan_is_refused_before_anything_is_removed(place: Path) -> None:
    sysroot, other = Sysroot.create(place / "sysroot"), Sysroot.create(place / "other")
    checksum = sysroot.deploy(1)
    other.deploy(1)
    unused = leave(sysroot, 7, checksum)
    plan = ostree_sweep.plan(other.path)
    with pytest.raises(StalePlanError, match="another repository"):
        ostree_sweep.apply(plan, sysroot=sysroot.path)
    assert unused.exists()
