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

    # What options are added to.
    Options = argparse._ActionsContainer | PlainGroup | PlainParser  # noqa: SLF001 - what groups and parsers have in common
    Parser = argparse.ArgumentParser | PlainParser


# Headings of help's groups.
_KEEP = "what to keep"
_DELETE = "what else to delete"
_STOP = "when to stop"
_SPEED = "how fast, and how much it disturbs"
_OUTPUT = "output"


def add_repo(parser: Parser) -> None:
    """The repository."""
    parser.add_argument(
        "--repo",
        metavar="PATH",
        help="the repository (default: the current directory if it is one, $OSTREE_REPO, /ostree/repo)",
    )


def add_dry_run(parser: Parser, *names: str) -> None:
    """Changing nothing."""
    parser.add_argument(
        *names, "--dry-run", dest="dry_run", action="store_true", help="only show what would be deleted"
    )


def add_common_retention(parser: Parser) -> None:
    """What to keep, as most prunes say it."""
    parser.add_argument("--refs-only", action="store_true", help="delete commits that no ref leads to")
    parser.add_argument(
        "--depth", type=int, default=-1, help="parents of each commit to keep (default: -1, all)"
    )
    parser.add_argument(
        "--keep-younger-than",
        metavar="DATE",
        help='of each ref, keep the newest commit and those since DATE ("2 weeks ago")',
    )


def add_retention(parser: Parser) -> Options:
    """What to keep, in detail; returns the group of these options."""
    keep = parser.add_argument_group(_KEEP)
    keep.add_argument("--policy", metavar="FILE", help="rules for single refs, in place of depth and dates")
    keep.add_argument(
        "--retain-branch-depth",
        metavar="BRANCH=DEPTH",
        type=branch_depth,
        action="append",
        default=[],
        help="keep DEPTH parents of this branch's newest commit, whatever --depth says (0: no rule)",
    )
    keep.add_argument(
        "--only-branch",
        metavar="BRANCH",
        dest="only_branches",
        action="append",
        default=[],
        help="prune the history of this branch only, or of branches like 'os/*' (repeatable)",
    )
    keep.add_argument(
        "--exclude-ref",
        metavar="REF",
        dest="exclude_refs",
        action="append",
        default=[],
        help="keep the whole history of this ref, or of refs like 'os/*' (repeatable)",
    )
    keep.add_argument(
        "--protect-commit",
        metavar="COMMIT",
        dest="protect_commits",
        action="append",
        default=[],
        help="keep this commit even if no ref leads to it (repeatable)",
    )
    keep.add_argument(
        "--protect-commits-from",
        metavar="FILE",
        help="keep the commits listed in FILE, one checksum a line; # begins a comment; -: standard input",
    )
    keep.add_argument(
        "--keep-unreferenced-younger-than",
        metavar="DATE",
        help="keep commits that no ref leads to if they were made, or arrived, since DATE",
    )
    keep.add_argument(
        "--commit-only", action="store_true", help="read and delete commits only, no files or directories"
    )
    keep.add_argument(
        "--ignore-missing-commits",
        action="store_true",
        help="skip refs whose commit is missing, with a warning; by default that is an error",
    )
    return keep


def add_deletion(parser: Parser) -> None:
    """What else to delete."""
    delete = parser.add_argument_group(_DELETE)
    delete.add_argument(
        "--delete-commit",
        metavar="COMMIT",
        help="delete a commit that no ref names; if it is inside a branch, no ref leads to the branch's "
        "older commits any more, and --refs-only deletes them",
    )
    delete.add_argument(
        "--static-deltas-only",
        action="store_true",
        help="with --delete-commit: delete only the static deltas that lead to the commit",
    )
    delete.add_argument(
        "--stale-tmp",
        action="store_true",
        help="also delete what interrupted pulls and commits left in tmp",
    )
    delete.add_argument(
        "--leftovers",
        action="store_true",
        help="also delete files that ostree never deletes, if older than a day: unused copies in "
        "uncompressed-objects-cache, and .commitmeta of missing commits",
    )


def add_metrics(group: Options, content: str) -> None:
    """Where to write metrics."""
    group.add_argument(
        "--metrics",
        metavar="FILE",
        help=f"write {content} to FILE for node_exporter's textfile collector",
    )


def add_view(parser: Parser) -> None:
    """What to read, and what counts as kept."""
    place = parser.add_mutually_exclusive_group()
    place.add_argument(
        "--repo",
        metavar="PATH",
        help="the repository (default: the current directory if it is one, $OSTREE_REPO)",
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
        help="parents of each commit that refs keep (default: -1, all; in a sysroot none)",
    )
    add_lock_timeout(parser)


def add_output(parser: Parser) -> Options:
    """What to print; returns the group of these options."""
    group = parser.add_argument_group(_OUTPUT)
    group.add_argument("--json", action="store_true", help="print one JSON object")
    group.add_argument("-v", "--verbose", action="store_true", help="print more, on stderr")
    return group


def add_work(parser: Parser) -> Options:
    """How fast to work; returns the group of these options. The package's calls have the defaults."""
    group = parser.add_argument_group(_SPEED)
    group.add_argument(
        "--impact",
        default=SUPPRESS,
        choices=("idle", "balanced", "full"),
        help="idle backs off while other programs use the disk; balanced runs at low priority; full does "
        "neither (default: cleanup balanced, cleanup --auto idle, prune full)",
    )
    group.add_argument("--jobs", type=at_least_one, default=SUPPRESS, metavar="N", help="worker threads")
    add_lock_timeout(group, default=SUPPRESS)
    return group


def add_lock_timeout(group: Options, default: str | None = None) -> None:
    """How long to wait."""
    group.add_argument(
        "--lock-timeout",
        default=default,
        dest="lock_timeout_s",
        type=timeout,
        metavar="SECONDS",
        help="how long to wait for a lock; -1: without a limit (default: the repository's setting)",
    )


def add_deleting_work(parser: Parser) -> None:
    """How fast to delete, and when to stop. The package's calls have the defaults."""
    group = add_work(parser)
    group.add_argument(
        "--max-unlinks",
        metavar="N",
        default=SUPPRESS,
        dest="unlinks_per_s",
        type=at_least_one,
        help="delete at most N files a second",
    )
    group.add_argument(
        "--lock-slice",
        dest="lock_slice_s",
        type=positive_seconds,
        metavar="SECONDS",
        default=SUPPRESS,
        help="hold a lock for about SECONDS in one go (default: 0.1)",
    )
    group = parser.add_argument_group(_STOP)
    group.add_argument(
        "--time-budget",
        metavar="SECONDS",
        default=SUPPRESS,
        dest="time_budget_s",
        type=budget,
        help="stop after SECONDS",
    )
    group.add_argument(
        "--max-freed",
        metavar="SIZE",
        default=SUPPRESS,
        type=size,
        help="stop when SIZE is freed: bytes, or with K (1024 bytes), M, G or T",
    )
    group.add_argument(
        "--free-until",
        metavar="SIZE|PERCENT",
        type=size_or_share,
        help="stop when this much of the file system is free for ordinary users: a size as above, or 15%%",
    )


def add_own_sysroot(parser: Parser) -> None:
    """The sysroot, by default this one."""
    add_sysroot(parser, default_sysroot())


def add_sysroot(group: Options, default: str | None) -> None:
    """The sysroot."""
    group.add_argument(
        "--sysroot",
        metavar="PATH",
        default=default,
        help="the sysroot (default: $OSTREE_SYSROOT, /)",
    )
