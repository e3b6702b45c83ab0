"""A run loads what it needs: no module that takes long to import, on the way of what people and units run."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import pickle
import subprocess
import sys
import typing
from typing import TYPE_CHECKING, Any

import pytest

import ostree_sweep
from ostree_sweep import frozen
from ostree_sweep.cli import arguments
from ostree_sweep.cli.plain import NotPlainError, UsageError
from support.samples import ostree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Each of them takes from a tenth of the time in which Python starts to twice as long.
SLOW = {
    "argparse",
    "asyncio",
    "ctypes",
    "dataclasses",
    "datetime",
    "importlib.metadata",
    "inspect",
    "json",
    "locale",
    "logging",
    "re",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "tqdm",
    "traceback",
    "typing",
}

COMMAND = "from ostree_sweep.cli import main; assert main(sys.argv[1:]) == 0"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A sysroot without deployments, and a repository with a live commit and an orphaned one."""
    (tmp_path / "sysroot").mkdir()
    ostree("admin", f"--sysroot={tmp_path}/sysroot", "init-fs", tmp_path / "sysroot")
    (tmp_path / "tree").mkdir()
    ostree("init", "--mode=archive", f"--repo={tmp_path}/repo")
    for branch in ("live", "dead"):
        (tmp_path / "tree" / "file").write_text(branch, encoding="ascii")
        ostree("commit", f"--repo={tmp_path}/repo", f"--branch={branch}", tmp_path / "tree")
    ostree("refs", f"--repo={tmp_path}/repo", "--delete", "dead")
    return tmp_path


def slow_modules(place: Path, script: str, *arguments: str) -> set[str]:
    """The slow modules that Python has loaded after the script, and would not have loaded without."""
    before = "import sys; before = set(sys.modules)\n"
    after = "\nsys.stderr.write('\\n'.join(set(sys.modules) - before))"
    words = [sys.executable, "-c", before + script + after, *arguments]
    done = subprocess.run(words, cwd=place, check=True, capture_output=True, text=True)
    assert done.stdout or script != COMMAND
    return SLOW & set(done.stderr.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        "prune --repo=repo",
        "prune --repo repo --refs-only --depth=0 --no-prune",
        "prune --repo=repo --refs-only --impact=idle --max-freed=1",
        "plan --repo=repo --refs-only -o plan",
        "plan --sysroot=sysroot",
        "du --repo=repo",
        "why live --repo=repo",
        "status --sysroot=sysroot",
        "cleanup --sysroot=sysroot",
        "cleanup --auto --sysroot=sysroot --dry-run",
        "apply --auto --sysroot=sysroot",
    ],
)
def test_a_command_loads_no_slow_module(place: Path, words: str) -> None:
    assert slow_modules(place, COMMAND, *words.split()) == set()


def test_a_plan_is_applied_without_a_slow_module(place: Path) -> None:
    assert slow_modules(place, COMMAND, "plan", "--repo=repo", "--refs-only", "--output=plan") == set()
    assert slow_modules(place, COMMAND, "apply", "plan") == set()


def test_a_stamp_loads_what_reads_and_writes_it(place: Path) -> None:
    assert slow_modules(place, COMMAND, "stamp", "--sysroot=sysroot") <= {"json", "re"}
    assert slow_modules(place, COMMAND, "status", "--sysroot=sysroot") <= {"json", "re"}
    assert slow_modules(place, COMMAND, "cleanup", "--auto", "--sysroot=sysroot") == set()


def test_a_call_loads_no_slow_module(place: Path) -> None:
    calls = [
        "prune('repo', refs_only=True)",
        "plan('sysroot')",
        "cleanup('sysroot')",
        "auto_cleanup('sysroot')",
        "usage('repo')",
    ]
    for call in calls:
        assert slow_modules(place, f"import ostree_sweep; ostree_sweep.{call}") == set(), call


PARSER = arguments.command_parser()


def examples() -> Iterator[list[str]]:
    """Each command, with each of its options."""
    # argparse has no other way.
    every = PARSER._actions  # noqa: SLF001
    (commands,) = (each for each in every if isinstance(each, argparse._SubParsersAction))  # noqa: SLF001
    for name, command in commands.choices.items():
        # What a command can't do without.
        needed = {"why": ["live"], "policy": ["--check=file"]}.get(name, [])
        yield [name, *needed]
        for action in command._actions:  # noqa: SLF001
            if not action.option_strings or action.dest in ("help", "version"):
                continue
            values = {"max_freed": "2M", "retain_branch_depth": "os/x=-1"}
            value = values.get(action.dest, (action.choices and next(iter(action.choices))) or "1")
            for option in action.option_strings:
                if action.nargs == 0:
                    yield [name, *needed, option]
                    yield [option, name, *needed]
                else:
                    yield [name, *needed, option, value]
                    if option.startswith("--"):
                        yield [name, *needed, f"{option}={value}"]
                        yield [name, *needed, f"{option}={value}", f"{option}={value}", "--json"]
    yield ["apply", "plan", "--dry-run"]
    yield ["--repo=repo", "prune", "-v"]


@pytest.mark.parametrize("given", list(examples()), ids=" ".join)
def test_arguments_are_read_alike_with_and_without_argparse(given: list[str]) -> None:
    ordered = arguments.command_first(given)
    assert vars(arguments.plain(ordered)) == vars(PARSER.parse_args(ordered))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "sweep",
        "prune --no-such",
        "prune --repo",
        "prune --repo --json",
        "prune --refs-only=1",
        "prune --depth=many",
        "prune --impact=loud",
        "prune --jobs=0",
        "prune live",
        "plan --repo=a --sysroot=b",
        "stamp --if-pending --prepare",
        "why",
        "why one two",
        "policy --repo=a",
        "cleanup -- --auto",
    ],
)
def test_what_is_wrong_is_left_to_argparse(words: str) -> None:
    with pytest.raises(NotPlainError):
        arguments.plain(words.split())
    with pytest.raises(UsageError):
        arguments.parse(words.split())


@pytest.mark.parametrize("words", ["prune --help", "--help", "prune -h", "--version", "du --version"])
def test_help_is_left_to_argparse(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments.parse(words.split())
    assert "ostree-sweep" in capsys.readouterr().out


@frozen.dataclass(frozen=True)
class Ours:
    """What is compared."""

    first: int
    second: str = "two"

    def __post_init__(self) -> None:
        assert isinstance(self.first, int)


@frozen.dataclass(frozen=True)
class OursMore(Ours):
    """What inherits."""

    third: typing.Optional[float] = None


def test_dataclasses_are_those_of_the_module() -> None:
    theirs: Any = dataclasses.make_dataclass(
        "Ours", [("first", "int"), ("second", "str", dataclasses.field(default="two"))], frozen=True
    )
    one = Ours(1)
    assert repr(one) == repr(theirs(1))
    assert hash(one) == hash(theirs(1))
    assert one == Ours(first=1, second="two") != Ours(2)
    assert one != theirs(1)
    assert str(inspect.signature(Ours)) == str(inspect.signature(theirs))
    assert [each.name for each in dataclasses.fields(OursMore)] == ["first", "second", "third"]
    assert OursMore.__match_args__ == ("first", "second", "third")
    assert dataclasses.asdict(OursMore(1, third=0.5)) == {"first": 1, "second": "two", "third": 0.5}
    assert dataclasses.replace(one, second="x") == Ours(1, "x") == frozen.replace(one, second="x")
    assert pickle.loads(pickle.dumps(OursMore(3))) == OursMore(3)  # noqa: S301 - our own pickle
    assert dataclasses.is_dataclass(Ours)
    assert OursMore(1) != one
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.first = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.first
    with pytest.raises(AssertionError):
        Ours("1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((1, "2", 3), {}), ((1,), {"first": 1}), ((1,), {"fourth": 1}), ((), {"second": "x"})],
)
def test_wrong_fields_are_refused(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"first|fourth|many"):
        Ours(*values, **named)


def test_a_class_derived_from_ours_may_be_of_another_kind() -> None:
    @dataclasses.dataclass(frozen=True)
    class Theirs(ostree_sweep.ObjectTally):
        more: int = 0

    assert Theirs(1, 2, 3, 4).more == 4
    assert len(dataclasses.fields(Theirs)) == 4

    class Plain(ostree_sweep.ObjectTally):
        def __init__(self, one: int) -> None:
            super().__init__(one, one, one)

    assert str(inspect.signature(Plain)) == "(one: 'int') -> 'None'"
    assert Plain(1).total == 1
