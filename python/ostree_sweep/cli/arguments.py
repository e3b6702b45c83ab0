"""The command's arguments, spelled as `ostree` spells them."""

from __future__ import annotations

from ..hints import TYPE_CHECKING
from .options import (
    add_bounds,
    add_common,
    add_deletion,
    add_lock_timeout,
    add_metrics,
    add_own_sysroot,
    add_repo,
    add_retention,
    add_sysroot,
    add_view,
    add_work,
)
from .plain import SUPPRESS, Namespace, NotPlainError, PlainParser

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from .options import Parser

    _Add = Callable[..., Parser]


def parse(arguments: Sequence[str]) -> Namespace:
    """Parses the arguments.

    Raises:
        UsageError: they make no sense.
        SystemExit: `--help` or `--version` was answered.
    """
    ordered = command_first(arguments)
    try:
        return plain(ordered)
    except NotPlainError:
        return command_parser().parse_args(ordered)


def plain(arguments: Sequence[str]) -> Namespace:
    """Parses arguments that begin with the command, if they are spelled out.

    Raises:
        NotPlainError: `argparse` has to read them.
    """
    name = arguments[0] if arguments else ""
    if name not in _COMMANDS:
        raise NotPlainError
    parser, found = PlainParser(), Namespace()

    def add(_name: str, _summary: str, *shared: Callable[[Parser], None]) -> PlainParser:
        for define in (*shared, add_common):
            define(parser)
        return parser

    _COMMANDS[name](add)
    parser.parse(arguments[1:], found)
    found.command = name
    return found


def command_first(arguments: Sequence[str]) -> list[str]:
    """As with `ostree`, options may stand before the command: `ostree --repo=PATH prune`."""
    ordered = list(arguments)
    for position, argument in enumerate(ordered):
        if not argument.startswith("-"):
            ordered.insert(0, ordered.pop(position))
            break
    return ordered


def command_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    from .parser import ArgumentParser, Version

    parser = ArgumentParser(
        prog="ostree-sweep", description="Clean up after OSTree updates, and prune OSTree repositories."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add_version(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--version", action=Version, nargs=0, default=SUPPRESS, help="print the version and exit"
        )

    def add(name: str, summary: str, *shared: Callable[[Parser], None]) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary)
        for define in (*shared, add_common, add_version):
            define(made)
        return made

    add_version(parser)
    for define in _COMMANDS.values():
        define(add)
    return parser


def _cleanup(add: _Add) -> None:
    cleanup = add(
        "cleanup",
        "Clean a sysroot up, as 'ostree admin cleanup' does",
        add_own_sysroot,
        add_work,
        add_bounds,
    )
    cleanup.add_argument("--auto", action="store_true", help="only if the stamp is there")
    cleanup.add_argument(
        "--container-layers",
        action="store_true",
        help="also drop the refs of container layers that no image and no deployment needs",
    )
    add_metrics(cleanup, "what was done")
    cleanup.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def _prune(add: _Add) -> None:
    prune = add(
        "prune",
        "Delete a repository's unreachable objects, as 'ostree prune' does",
        add_work,
        add_bounds,
    )
    add_repo(prune)
    prune.add_argument(
        "--no-prune",
        "--dry-run",
        dest="dry_run",
        action="store_true",
        help="only say what would be deleted",
    )

    add_retention(prune)
    prune.add_argument(
        "--strict",
        action="store_true",
        help="a branch of --retain-branch-depth that is not there is an error; otherwise a warning",
    )
    add_deletion(prune)


def _plan(add: _Add) -> None:
    plan = add("plan", "Work out what will have to go once a staged deployment is finalized", add_work)
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


def _apply(add: _Add) -> None:
    apply = add(
        "apply",
        "Delete by a plan what is still unreachable",
        add_own_sysroot,
        add_work,
        add_bounds,
    )
    apply.add_argument("plan", metavar="PLAN", nargs="?", help="its file (default: the sysroot's own plan)")
    apply.add_argument(
        "--auto", action="store_true", help="only if the stamp and the sysroot's own plan are there"
    )
    apply.add_argument("--dry-run", action="store_true", help="only say what would be deleted")


def _stamp(add: _Add) -> None:
    stamp = add("stamp", "Note durably that a sysroot is due for a cleanup", add_own_sysroot)
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


def _status(add: _Add) -> None:
    status = add("status", "Show deployments, stamp, locks, and what a cleanup would free")
    place = status.add_mutually_exclusive_group()
    # No default, as above.
    add_sysroot(place, default=None)
    place.add_argument("--repo", metavar="PATH", help="show this repository instead")
    add_metrics(status, "what there is to do")


def _du(add: _Add) -> None:
    du = add("du", "Show how much each deployment, remote and ref holds, alone and shared")
    add_view(du)
    du.add_argument(
        "--apparent-size",
        action="store_true",
        help="show the sizes of contents; by default, the blocks that they take on the disk",
    )


def _why(add: _Add) -> None:
    why = add("why", "Show what keeps an object, and by which way, or that it is garbage")
    why.add_argument(
        "object",
        metavar="OBJECT",
        help="CHECKSUM.TYPE, a checksum or the beginning of one, a ref, REF:/PATH, or a deployed file's path",
    )
    add_view(why)


def _policy(add: _Add) -> None:
    policy = add("policy", "Show which rule of a policy each ref gets, and how many commits go")
    policy.add_argument("--check", metavar="FILE", required=True, help="the policy")
    add_repo(policy)
    add_lock_timeout(policy)


def _units(add: _Add) -> None:
    units = add("install-units", "Write the units for systemd; none is turned on")
    units.add_argument("--root", metavar="DIR", default="/", help="the system's root (default: /)")
    units.add_argument(
        "--prefix",
        metavar="DIR",
        default="/usr",
        help="where in that system this command is, in DIR/bin; units go to DIR/lib/systemd (default: /usr)",
    )


_COMMANDS: dict[str, Callable[[_Add], None]] = {
    "cleanup": _cleanup,
    "prune": _prune,
    "plan": _plan,
    "apply": _apply,
    "stamp": _stamp,
    "status": _status,
    "du": _du,
    "why": _why,
    "policy": _policy,
    "install-units": _units,
}
