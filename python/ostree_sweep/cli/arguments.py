"""The command's arguments, spelled as `ostree` spells them."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import SupportsWrite


class UsageError(Exception):
    """The arguments make no sense."""


class _Parser(argparse.ArgumentParser):
    """Raises instead of printing: main knows whether JSON is asked for."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self._with_nearest(message)} (see {self.prog} --help)")

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        """Unlike argparse's own, it does not hide that help can't be written."""
        (sys.stdout if file is None else file).write(message)

    def _with_nearest(self, message: str) -> str:
        """A name that is unknown, with the one that was probably meant."""
        wrong = re.match(
            r"unrecognized arguments: (--[^\s=]+)|argument COMMAND: invalid choice: '([^']*)'", message
        )
        if wrong is None:
            return message
        # Slow to import.
        from difflib import get_close_matches

        commands = [action for action in self._actions if isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001 - argparse has no other way
        parsers: dict[str, argparse.ArgumentParser] = commands[0].choices if commands else {}
        options = {name for each in (self, *parsers.values()) for name in each._option_string_actions}  # noqa: SLF001
        given = wrong[1] or wrong[2]
        nearest = get_close_matches(given, options if wrong[1] else parsers, n=1)
        text = message if wrong[1] else f"there is no command '{given}'"
        return f"{text}; did you mean {nearest[0]}?" if nearest else text


class _Version(argparse.Action):
    """Looks the version up when it's asked for: the package's metadata is slow to read."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        print(f"ostree-sweep {version('ostree-sweep')}")
        parser.exit()


class _Spelled(argparse.Action):
    """Stores by which of its names an option was given, for messages."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse passes all
        namespace: argparse.Namespace,
        values: object,  # noqa: ARG002
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, option_string)


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
    parser = _Parser(
        prog="ostree-sweep",
        description="Clean up after OSTree updates, and prune OSTree repositories.",
        allow_abbrev=False,
    )
    _add_version(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common, work, deletion, sysroot = _common(), _work(), _deletion(), _sysroot()

    def add(name: str, summary: str, *parents: _Parser) -> _Parser:
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
    _add_metrics(cleanup, "what was done")
    cleanup.add_argument("--dry-run", action="store_true", help="only say what would be deleted")

    prune = add(
        "prune", "Delete a repository's unreachable objects, as 'ostree prune' does", work, deletion, common
    )
    _add_repo(prune)
    prune.add_argument(
        "--no-prune",
        "--dry-run",
        dest="dry_run",
        action=_Spelled,
        nargs=0,
        default="",
        help="only say what would be deleted",
    )

    _add_retention(prune)
    prune.add_argument(
        "--strict",
        action="store_true",
        help="a branch of --retain-branch-depth that is not there is an error; otherwise a warning",
    )
    _add_deletion(prune)

    plan = add("plan", "Work out what will have to go once a staged deployment is finalized", work, common)
    target = plan.add_mutually_exclusive_group()
    # No default: argparse would not notice that it is given beside another of them.
    _add_sysroot(target, default=None)
    target.add_argument("--repo", metavar="PATH", help="plan a prune of this repository instead")
    target.add_argument("--show", metavar="FILE", help="only show the plan in FILE")
    plan.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="keep the plan in FILE (default: a sysroot's own place, where 'cleanup --auto' finds it)",
    )
    _add_retention(plan)

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
    _add_metrics(status, "what there is to do")
    du = add("du", "Show how much each deployment, remote and ref holds, alone and shared", common)
    _add_view(du)
    why = add("why", "Show what keeps an object, and by which way, or that it is garbage", common)
    why.add_argument(
        "object",
        metavar="OBJECT",
        help="CHECKSUM.TYPE, a checksum or the beginning of one, or a ref",
    )
    _add_view(why)

    policy = add("policy", "Show which rule of a policy each ref gets, and how many commits go", common)
    policy.add_argument("--check", metavar="FILE", required=True, help="the policy")
    _add_repo(policy)
    _add_lock_timeout(policy)

    units = add("install-units", "Write the units for systemd; none is turned on", common)
    units.add_argument("--root", metavar="DIR", default="/", help="the system's root (default: /)")
    units.add_argument(
        "--prefix",
        metavar="DIR",
        default="/usr",
        help="where in that system this command is, in DIR/bin; units go to DIR/lib/systemd (default: /usr)",
    )
    return parser


def _add_repo(parser: _Parser) -> None:
    parser.add_argument(
        "--repo",
        metavar="PATH",
        help="the repository (default: the current directory if it's one, $OSTREE_REPO, /ostree/repo)",
    )


def _add_retention(prune: _Parser) -> None:
    """What to keep."""
    prune.add_argument("--refs-only", action="store_true", help="only refs keep commits")
    prune.add_argument(
        "--depth",
        type=int,
        default=-1,
        help="how many parents of a commit are kept (default: -1, all)",
    )
    prune.add_argument("--commit-only", action="store_true", help="look at and delete commits only")
    prune.add_argument(
        "--keep-younger-than",
        metavar="DATE",
        help='of each ref\'s history, keep its newest commit and those made since DATE (like "2 weeks ago")',
    )
    prune.add_argument(
        "--retain-branch-depth",
        metavar="BRANCH=DEPTH",
        type=_branch_depth,
        action="append",
        default=[],
        help="of this branch's history, keep DEPTH parents, whatever else is said (0: as if not given)",
    )
    prune.add_argument(
        "--only-branch",
        metavar="BRANCH",
        dest="only_branches",
        action="append",
        default=[],
        help="prune the history of this branch only, or of those like 'os/*' (may be given several times)",
    )
    prune.add_argument(
        "--keep-unreferenced-younger-than",
        metavar="DATE",
        help="keep commits that no ref leads to if they were made, or came here, since DATE",
    )
    prune.add_argument(
        "--policy", metavar="FILE", help="rules for single refs, in place of depth, dates and branches"
    )
    prune.add_argument(
        "--exclude-ref",
        metavar="REF",
        dest="exclude_refs",
        action="append",
        default=[],
        help="keep the whole history of this ref, or of those like 'os/*' (may be given several times)",
    )
    prune.add_argument(
        "--protect-commit",
        metavar="COMMIT",
        dest="protect_commits",
        action="append",
        default=[],
        help="keep this commit even if no ref leads to it (may be given several times)",
    )
    prune.add_argument(
        "--protect-commits-from",
        metavar="FILE",
        help="keep the commits whose checksums FILE has, one a line; # begins a comment; -: standard input",
    )
    prune.add_argument(
        "--ignore-missing-commits",
        action="store_true",
        help="go on where a ref's commit is missing, with a warning; by default that is an error",
    )


def _add_deletion(prune: _Parser) -> None:
    """What else to delete, and how much."""
    prune.add_argument("--delete-commit", metavar="COMMIT", help="delete a commit that no ref leads to")
    prune.add_argument(
        "--static-deltas-only",
        action="store_true",
        help="of the commit to delete, delete only the static deltas that lead to it",
    )


def _add_metrics(parser: _Parser, content: str) -> None:
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        help=f"write {content} to FILE for node_exporter's textfile collector",
    )


def _add_view(parser: _Parser) -> None:
    """Where to look, and what counts as kept."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--repo",
        metavar="PATH",
        help="the repository (default: the current directory if it's one, $OSTREE_REPO)",
    )
    place.add_argument(
        "--sysroot",
        metavar="PATH",
        help="the sysroot with its repository (default: $OSTREE_SYSROOT, /)",
    )
    parser.add_argument(
        "--depth",
        type=int,
        default=-1,
        help="how many parents of a commit refs keep (default: -1, all; in a sysroot none)",
    )
    _add_lock_timeout(parser)


def _common() -> _Parser:
    parser = _Parser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more, on stderr")
    _add_version(parser)
    return parser


def _work() -> _Parser:
    # The package's calls have the defaults.
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument(
        "--impact",
        choices=("idle", "balanced", "full"),
        help="how much other work may feel (default: cleanup balanced, cleanup --auto idle, prune full)",
    )
    parser.add_argument("--jobs", type=_at_least_one, metavar="N", help="worker threads")
    _add_lock_timeout(parser)
    return parser


def _add_lock_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lock-timeout",
        dest="lock_timeout_s",
        type=_timeout,
        metavar="SECONDS",
        help="how long to wait for a lock; -1: for ever (default: the repository's setting)",
    )


def _deletion() -> _Parser:
    """What bounds a deletion."""
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument(
        "--time-budget",
        metavar="SECONDS",
        dest="time_budget_s",
        type=_budget,
        help="stop after SECONDS",
    )
    parser.add_argument(
        "--max-freed",
        metavar="SIZE",
        type=_size,
        help="stop when SIZE is freed: bytes, or with K (1024 bytes), M, G or T",
    )
    parser.add_argument(
        "--max-unlinks",
        metavar="N",
        dest="unlinks_per_s",
        type=_at_least_one,
        help="delete at most N files a second",
    )
    parser.add_argument(
        "--lock-slice",
        dest="lock_slice_s",
        type=_positive_seconds,
        metavar="SECONDS",
        help="how long to keep others waiting for a lock, about (default: 0.1)",
    )
    return parser


def _sysroot() -> _Parser:
    parser = _Parser(add_help=False)
    _add_sysroot(parser, default_sysroot())
    return parser


def _add_sysroot(parser: argparse._ActionsContainer, default: str | None) -> None:
    parser.add_argument(
        "--sysroot",
        metavar="PATH",
        default=default,
        help="the sysroot (default: $OSTREE_SYSROOT, /)",
    )


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise argparse.ArgumentTypeError(f"no number of seconds: '{text}'")
    return seconds


def _timeout(text: str) -> float:
    seconds = _seconds(text)
    if seconds < 0 and seconds != -1:
        raise argparse.ArgumentTypeError(f"neither 0 or more seconds nor -1, for ever: '{text}'")
    return seconds


def _budget(text: str) -> float:
    seconds = _seconds(text)
    if seconds < 0:
        raise argparse.ArgumentTypeError(f"less than 0 seconds: '{text}'")
    return seconds


def _at_least_one(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"no whole number of at least 1: '{text}'")
    return number


def _positive_seconds(text: str) -> float:
    seconds = _seconds(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"not more than 0 seconds: '{text}'")
    return seconds


def _branch_depth(text: str) -> tuple[str, int]:
    branch, equals, depth = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"Invalid value {text}, must specify BRANCH=DEPTH")
    try:
        number = int(depth)
    except ValueError:
        raise argparse.ArgumentTypeError(f"Invalid depth {depth}") from None
    if not -1 <= number < 2**31:
        raise argparse.ArgumentTypeError(f"Out of range depth {depth}")
    return branch, number


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i?B)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"no size: '{text}'; a size is a number of bytes, or one with K, M, G or T, as in 500M"
        )
    return int(match[1]) << (10 * " KMGT".index(match[2] or " "))


def default_sysroot() -> str:
    """The sysroot of a command that names none, as `ostree` finds it."""
    return os.environ.get("OSTREE_SYSROOT") or "/"


def default_repo() -> str:
    """The repository of a command that names none, as `ostree` finds it."""
    if os.path.isdir("objects") and os.path.isfile("config"):
        return "."
    return os.environ.get("OSTREE_REPO") or os.path.join(default_sysroot(), "ostree/repo")
