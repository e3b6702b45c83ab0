"""The command's arguments, spelled as `ostree` spells them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .options import (
    add_deletion,
    add_lock_timeout,
    add_metrics,
    add_repo,
    add_retention,
    add_sysroot,
    add_version,
    add_view,
    common_options,
    deletion_options,
    sysroot_options,
    work_options,
)
from .parser import Parser, Spelled

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the arguments.

    Raises:
        UsageError: they make no sense.
        SystemExit: `--help` or `--version` was answered.
    """
    return command_parser().parse_args(_command_first(arguments))


def _command_first(arguments: Sequence[str]) -> list[str]:
    """As with `ostree`, options may stand before the command: `ostree --repo=PATH prune`."""
    ordered = list(arguments)
    for position, argument in enumerate(ordered):
        if not argument.startswith("-"):
            ordered.insert(0, ordered.pop(position))
            break
    return ordered


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="ostree-sweep",
        description="Clean up after OSTree updates, and prune OSTree repositories.",
        allow_abbrev=False,
    )
    add_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common, work, deletion, sysroot = (
        common_options(),
        work_options(),
        deletion_options(),
        sysroot_options(),
    )

    def add(name: str, summary: str, *parents: Parser) -> Parser:
        return commands.add_parser(
            name, parents=parents, help=summary, description=summary, allow_abbrev=False
        )

    cleanup = add(
        "cleanup", "Clean a sysroot up, as 'ostree admin cleanup' does", sysroot, work, deletion, common
    )
    cleanup.add_argument("--auto", action="store_true", help="only if the stamp is there")
    cleanup.add_argument(
        "--container-layers",
        action="store_true",
        help="also drop the refs of container layers that no image and no deployment needs",
    )
    add_metrics(cleanup, "what was done")
    cleanup.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    prune = add(
        "prune", "Delete a repository's unreachable objects, as 'ostree prune' does", work, deletion, common
    )
    add_repo(prune)
    prune.add_argument(
        "--no-prune",
        "--dry-run",
        dest="dry_run",
        action=Spelled,
        nargs=0,
        default="",
        help="only say what would be deleted",
    )

    add_retention(prune)
    prune.add_argument(
        "--strict",
        action="store_true",
        help="a branch of --retain-branch-depth that is not there is an error; otherwise a warning",
    )
    add_deletion(prune)

    plan = add("plan", "Work out what will have to go once a staged deployment is finalized", work, common)
    target = plan.add_mutually_exclusive_group()
    # No default: argparse would not notice that it is given beside another of them.
    add_sysroot(target, default=None)
    target.add_argument("--repo", metavar="PATH", help="plan a prune of this repository instead")
    target.add_argument("--show", metavar="FILE", help="only show the plan in FILE")
    plan.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="keep the plan in FILE (default: a sysroot's own place, where 'cleanup --auto' finds it)",
    )
    add_retention(plan)

    apply = add("apply", "Delete by a plan what is still unreachable", sysroot, work, deletion, common)
    apply.add_argument("plan", metavar="PLAN", nargs="?", help="its file (default: the sysroot's own plan)")
    apply.add_argument(
        "--auto", action="store_true", help="only if the stamp and the sysroot's own plan are there"
    )
    apply.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    stamp = add("stamp", "Note durably that a sysroot is due for a cleanup", sysroot, common)
    when = stamp.add_mutually_exclusive_group()
    when.add_argument(
        "--if-pending",
        action="store_true",
        help="only if the next boot is into another deployment, and that one is finalized",
    )
    when.add_argument(
        "--prepare",
        action="store_true",
        help="only make the file, .cleanup.spare, that becomes the stamp if the disk is full then",
    )
    status = add("status", "Show deployments, stamp, locks, and what a cleanup would free", sysroot, common)
    add_metrics(status, "what there is to do")
    du = add("du", "Show how much each deployment, remote and ref holds, alone and shared", common)
    add_view(du)
    du.add_argument(
        "--apparent-size",
        action="store_true",
        help="show the sizes of contents; by default, the blocks that they take on the disk",
    )
    why = add("why", "Show what keeps an object, and by which way, or that it is garbage", common)
    why.add_argument(
        "object",
        metavar="OBJECT",
        help="CHECKSUM.TYPE, a checksum or the beginning of one, or a ref",
    )
    add_view(why)

    policy = add("policy", "Show which rule of a policy each ref gets, and how many commits go", common)
    policy.add_argument("--check", metavar="FILE", required=True, help="the policy")
    add_repo(policy)
    add_lock_timeout(policy)

    units = add("install-units", "Write the units for systemd; none is turned on", common)
    units.add_argument("--root", metavar="DIR", default="/", help="the system's root (default: /)")
    units.add_argument(
        "--prefix",
        metavar="DIR",
        default="/usr",
        help="where in that system this command is, in DIR/bin; units go to DIR/lib/systemd (default: /usr)",
    )
    return parser
