"""Options that several commands have."""

from __future__ import annotations

from ..hints import TYPE_CHECKING
from .plain import SUPPRESS
from .values import (
    at_least_one,
    branch_depth,
    budget,
    default_sysroot,
    positive_seconds,
    size,
    size_or_share,
    timeout,
)

if TYPE_CHECKING:
    import argparse

    from .plain import PlainGroup, PlainParser

    # What takes definitions of options.
    Options = argparse._ActionsContainer | PlainGroup | PlainParser  # noqa: SLF001 - what groups and parsers have in common
    Parser = argparse.ArgumentParser | PlainParser


def add_repo(parser: Parser) -> None:
    """Which repository."""
    parser.add_argument(
        "--repo",
        metavar="PATH",
        help="the repository (default: the current directory if it's one, $OSTREE_REPO, /ostree/repo)",
    )


def add_retention(prune: Parser) -> None:
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
        type=branch_depth,
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


def add_deletion(prune: Parser) -> None:
    """What else to delete, and how much."""
    prune.add_argument("--delete-commit", metavar="COMMIT", help="delete a commit that no ref leads to")
    prune.add_argument(
        "--static-deltas-only",
        action="store_true",
        help="of the commit to delete, delete only the static deltas that lead to it",
    )
    prune.add_argument(
        "--stale-tmp",
        action="store_true",
        help="also delete what interrupted pulls and commits left in tmp, as libostree's transactions do",
    )
    prune.add_argument(
        "--leftovers",
        action="store_true",
        help="also delete what ostree never does: unused files of uncompressed-objects-cache, .commitmeta "
        "whose commit is missing; only what is older than a day",
    )


def add_metrics(parser: Parser, content: str) -> None:
    """Where figures go."""
    parser.add_argument(
        "--metrics",
        metavar="FILE",
        help=f"write {content} to FILE for node_exporter's textfile collector",
    )


def add_view(parser: Parser) -> None:
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
    add_lock_timeout(parser)


def add_common(parser: Parser) -> None:
    """What all commands have."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more, on stderr")


def add_work(parser: Parser) -> None:
    """How to go about work. The package's calls have the defaults."""
    parser.add_argument(
        "--impact",
        default=SUPPRESS,
        choices=("idle", "balanced", "full"),
        help="how much other work may feel (default: cleanup balanced, cleanup --auto idle, prune full)",
    )
    parser.add_argument("--jobs", type=at_least_one, default=SUPPRESS, metavar="N", help="worker threads")
    add_lock_timeout(parser, default=SUPPRESS)


def add_lock_timeout(parser: Parser, default: str | None = None) -> None:
    """How long to wait."""
    parser.add_argument(
        "--lock-timeout",
        default=default,
        dest="lock_timeout_s",
        type=timeout,
        metavar="SECONDS",
        help="how long to wait for a lock; -1: for ever (default: the repository's setting)",
    )


def add_bounds(parser: Parser) -> None:
    """What bounds a deletion. The package's calls have the defaults."""
    parser.add_argument(
        "--time-budget",
        metavar="SECONDS",
        default=SUPPRESS,
        dest="time_budget_s",
        type=budget,
        help="stop after SECONDS",
    )
    parser.add_argument(
        "--max-freed",
        metavar="SIZE",
        default=SUPPRESS,
        type=size,
        help="stop when SIZE is freed: bytes, or with K (1024 bytes), M, G or T",
    )
    parser.add_argument(
        "--free-until",
        metavar="SIZE|PERCENT",
        type=size_or_share,
        help="stop when so much of the file system is free for ordinary users: a size as above, or as 15%%",
    )
    parser.add_argument(
        "--max-unlinks",
        metavar="N",
        default=SUPPRESS,
        dest="unlinks_per_s",
        type=at_least_one,
        help="delete at most N files a second",
    )
    parser.add_argument(
        "--lock-slice",
        dest="lock_slice_s",
        type=positive_seconds,
        metavar="SECONDS",
        default=SUPPRESS,
        help="how long to keep others waiting for a lock, about (default: 0.1)",
    )


def add_own_sysroot(parser: Parser) -> None:
    """Which sysroot, by default this one."""
    add_sysroot(parser, default_sysroot())


def add_sysroot(parser: Options, default: str | None) -> None:
    """Which sysroot."""
    parser.add_argument(
        "--sysroot",
        metavar="PATH",
        default=default,
        help="the sysroot (default: $OSTREE_SYSROOT, /)",
    )
