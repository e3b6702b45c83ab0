"""The command's arguments, spelled as `ostree` spells them."""

from __future__ import annotations

from ..hints import TYPE_CHECKING
from .options import (
    add_common_retention,
    add_deleting_work,
    add_deletion,
    add_dry_run,
    add_lock_timeout,
    add_metrics,
    add_output,
    add_own_sysroot,
    add_repo,
    add_retention,
    add_sysroot,
    add_view,
    add_work,
)
from .plain import SUPPRESS, Namespace, NotPlainError, PlainParser, UsageError

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
    _refuse_empty(arguments)
    ordered = command_first(arguments)
    if ordered[:1] == ["help"]:
        ordered = [*ordered[1:], "--help"]
    try:
        return plain(ordered)
    except NotPlainError:
        return command_parser().parse_args(ordered)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuses what scripts give for a variable that is not set: no option takes an empty value."""
    previous = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not argument or (name.startswith("--") and equals and not value):
            if not argument:
                name = previous if previous.startswith("--") else "an argument"
            raise UsageError(f"{name} is empty: is a variable not set? (see ostree-sweep --help)")
        previous = argument


def plain(arguments: Sequence[str]) -> Namespace:
    """Parses arguments that begin with the command, if they are spelled out.

    Raises:
        NotPlainError: `argparse` has to read them.
    """
    name = arguments[0] if arguments else ""
    if name not in _COMMANDS:
        raise NotPlainError
    parser, found = PlainParser(), Namespace()
    _COMMANDS[name](lambda *_: parser)
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
    from .parser import ArgumentParser, HelpFormatter, Version

    def add_version(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--version", action=Version, nargs=0, default=SUPPRESS, help="print the version and exit"
        )

    parser = ArgumentParser(
        prog="ostree-sweep",
        usage="ostree-sweep COMMAND [OPTIONS]",
        description="Clean up after OSTree updates, and prune OSTree repositories.",
        epilog="""exit status:
  0    done, or nothing to do
  1    error
  2    wrong usage
  3    some items could not be removed; status --check: there is something to do
  75   the lock stayed busy
  130  cancelled by SIGINT; 143: by SIGTERM

See 'ostree-sweep help COMMAND' for a command's options.""",
        formatter_class=HelpFormatter,
    )
    commands = parser.add_subparsers(prog="ostree-sweep", dest="command", metavar="COMMAND", required=True)

    def add(name: str, summary: str, usage: str, examples: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=summary,
            description=f"{summary}.",
            usage=f"ostree-sweep {name} {usage}",
            epilog=f"examples:\n{examples}",
            formatter_class=HelpFormatter,
        )
        add_version(made)
        return made

    add_version(parser)
    for define in _COMMANDS.values():
        define(add)
    return parser


def _cleanup(add: _Add) -> None:
    cleanup = add(
        "cleanup",
        "Clean a sysroot up, as 'ostree admin cleanup' does",
        "[--auto] [--dry-run] [OPTIONS]",
        """\
  ostree-sweep cleanup --dry-run
  ostree-sweep cleanup --auto --time-budget=60""",
    )
    add_own_sysroot(cleanup)
    cleanup.add_argument("--auto", action="store_true", help="only if the stamp is there")
    add_dry_run(cleanup)
    cleanup.add_argument(
        "--container-layers",
        action="store_true",
        help="also drop refs of container layers that no image and no deployment needs",
    )
    add_metrics(add_output(cleanup), "what was done")
    add_deleting_work(cleanup)


def _prune(add: _Add) -> None:
    prune = add(
        "prune",
        "Delete a repository's unreachable objects, as 'ostree prune' does",
        "[--repo=PATH] [--dry-run] [OPTIONS]",
        """\
  ostree-sweep prune --repo=/srv/repo --refs-only --depth=2 --dry-run
  ostree-sweep prune --repo=/srv/repo --policy=policy.toml
  ostree-sweep prune --repo=/srv/repo --refs-only --max-freed=10G --impact=idle""",
    )
    add_repo(prune)
    add_dry_run(prune, "--no-prune")
    add_common_retention(prune)
    add_output(prune)
    add_retention(prune).add_argument(
        "--strict",
        action="store_true",
        help="fail if a branch of --retain-branch-depth does not exist; by default that is a warning",
    )
    add_deletion(prune)
    add_deleting_work(prune)


def _plan(add: _Add) -> None:
    plan = add(
        "plan",
        "List the objects to delete once a staged deployment is finalized",
        "[--repo=PATH | --show=FILE] [OPTIONS]",
        """\
  ostree-sweep plan
  ostree-sweep plan --repo=/srv/repo --refs-only --output=prune.plan
  ostree-sweep plan --show=prune.plan""",
    )
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
    add_common_retention(plan)
    add_output(plan)
    add_retention(plan)
    add_work(plan)


def _apply(add: _Add) -> None:
    apply = add(
        "apply",
        "Delete the objects of a plan that are still unreachable",
        "[PLAN] [--auto] [--dry-run] [OPTIONS]",
        """\
  ostree-sweep apply prune.plan --max-freed=10G --time-budget=600
  ostree-sweep apply --auto --time-budget=3""",
    )
    apply.add_argument("plan", metavar="PLAN", nargs="?", help="its file (default: the sysroot's own plan)")
    add_own_sysroot(apply)
    apply.add_argument(
        "--auto", action="store_true", help="only if the stamp and the sysroot's own plan are there"
    )
    add_dry_run(apply)
    add_output(apply)
    add_deleting_work(apply)


def _stamp(add: _Add) -> None:
    stamp = add(
        "stamp",
        "Note durably that a sysroot is due for a cleanup",
        "[--if-pending | --prepare] [OPTIONS]",
        """\
  ostree-sweep stamp
  ostree-sweep stamp --if-pending""",
    )
    add_own_sysroot(stamp)
    when = stamp.add_mutually_exclusive_group()
    when.add_argument(
        "--if-pending",
        action="store_true",
        help="only if the next boot is into another deployment, and that one is finalized",
    )
    when.add_argument(
        "--prepare",
        action="store_true",
        help="only make the spare file, .cleanup.spare, which becomes the stamp if the disk is full then",
    )
    add_output(stamp)


def _status(add: _Add) -> None:
    status = add(
        "status",
        "Show deployments, stamp, locks, and what a cleanup would free",
        "[--repo=PATH] [--check] [OPTIONS]",
        """\
  ostree-sweep status
  ostree-sweep status --check >/dev/null || ostree-sweep cleanup --dry-run""",
    )
    place = status.add_mutually_exclusive_group()
    # No default, as above.
    add_sysroot(place, default=None)
    place.add_argument("--repo", metavar="PATH", help="show this repository instead")
    status.add_argument(
        "--check",
        action="store_true",
        help="print the first line only; exit status 0: nothing to do, 3: something, 1: a cleanup is not "
        "possible, 75: a lock was held",
    )
    add_metrics(add_output(status), "what there is to do")


def _du(add: _Add) -> None:
    du = add(
        "du",
        "Show how much each deployment, remote and ref holds, alone and shared",
        "[--repo=PATH | --sysroot=PATH] [OPTIONS]",
        """\
  ostree-sweep du
  ostree-sweep du --repo=/srv/repo --depth=2""",
    )
    add_view(du)
    du.add_argument(
        "--apparent-size",
        action="store_true",
        help="show sizes of contents; by default, of the blocks on the disk",
    )
    add_output(du)


def _why(add: _Add) -> None:
    why = add(
        "why",
        "Show what keeps an object, and by which path, or that it is garbage",
        "OBJECT [--repo=PATH | --sysroot=PATH] [OPTIONS]",
        """\
  ostree-sweep why 3f4a0c9b2d11
  ostree-sweep why exampleos/stable --repo=/srv/repo""",
    )
    why.add_argument(
        "object",
        metavar="OBJECT",
        help="CHECKSUM.TYPE, a checksum or the beginning of one, a ref, REF:/PATH, or a deployed file's path",
    )
    add_view(why)
    add_output(why)


def _policy(add: _Add) -> None:
    policy = add(
        "policy",
        "Show which rule of a policy each ref gets, and how many commits it deletes",
        "--check=FILE [--repo=PATH] [OPTIONS]",
        """\
  ostree-sweep policy --check=policy.toml --repo=/srv/repo""",
    )
    policy.add_argument("--check", metavar="FILE", required=True, help="the policy")
    add_repo(policy)
    add_lock_timeout(policy)
    add_output(policy)


def _units(add: _Add) -> None:
    units = add(
        "install-units",
        "Write the systemd units; all are disabled",
        "[--root=DIR] [--prefix=DIR] [OPTIONS]",
        """\
  ostree-sweep install-units --root="${DESTDIR:-/}" --prefix=/usr""",
    )
    units.add_argument("--root", metavar="DIR", default="/", help="the system's root (default: /)")
    units.add_argument(
        "--prefix",
        metavar="DIR",
        default="/usr",
        help="this command is in DIR/bin of that system; units go to DIR/lib/systemd (default: /usr)",
    )
    add_output(units)


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
