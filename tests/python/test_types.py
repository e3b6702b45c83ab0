"""Public types: known to type checkers, evaluated by `typing.get_type_hints`, and described by `help()`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pydoc
import subprocess
import sys
import typing
from typing import Any

import pytest

import ostree_sweep
from ostree_sweep import Cancellable, CleanupReport, aio
from support.sysroots import PROJECT

if typing.TYPE_CHECKING:
    # mypy, which checks this file, too, refuses a misspelt name: otherwise the `ignore` would be refused.
    from ostree_sweep import auto_clenup  # type: ignore[attr-defined]  # noqa: F401

CALLS = ["apply", "auto_cleanup", "cleanup", "plan", "prune", "usage", "why"]
CLASSES = [name for name in ostree_sweep.__all__ if inspect.isclass(getattr(ostree_sweep, name))]


@pytest.mark.parametrize("module", [ostree_sweep, aio], ids=lambda module: module.__name__)
@pytest.mark.parametrize("name", CALLS)
def test_hints_of_calls(module: Any, name: str) -> None:
    call = getattr(module, name)
    hints = typing.get_type_hints(call)
    assert set(hints) == {*inspect.signature(call).parameters, "return"}
    assert hints["cancellable"] == typing.Optional[Cancellable]


@pytest.mark.parametrize("name", CLASSES)
def test_hints_of_classes(name: str) -> None:
    kind = getattr(ostree_sweep, name)
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        assert {field.name for field in dataclasses.fields(kind)} <= set(hints)
    for member in vars(kind).values():
        if inspect.isfunction(member):
            typing.get_type_hints(member)


def test_impacts_and_phases_are_those_of_the_core() -> None:
    core = (PROJECT / "src" / "control.rs").read_text(encoding="utf-8")
    for phase in typing.get_args(ostree_sweep.Phase):
        assert f'=> "{phase}",' in core
    assert core.count("Phase::", core.index("pub fn as_str"), core.index("/// One look")) == len(
        typing.get_args(ostree_sweep.Phase)
    )


@pytest.mark.parametrize(
    "module", ["api", "errors", "plans", "progress", "reports", "retention", "stamp", "views"]
)
def test_annotations_can_be_evaluated_by_python_3_9(module: str) -> None:
    """So without `X | Y`, but within the types of the core."""
    tree = ast.parse((PROJECT / "python" / "ostree_sweep" / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        annotations = [getattr(node, name, None) for name in ("annotation", "returns")]
        for part in (part for each in annotations if isinstance(each, ast.AST) for part in ast.walk(each)):
            assert not isinstance(part, ast.BinOp), f"line {part.lineno}"


@pytest.mark.parametrize("name", CALLS)
def test_help_tells_every_argument_and_error(name: str) -> None:
    for module in (ostree_sweep, aio):
        call = getattr(module, name)
        text = pydoc.plain(pydoc.render_doc(call))
        for argument in inspect.signature(call).parameters:
            assert f"{argument}:" in text or f"{argument}," in text, argument
        assert "see the module" not in text
        assert "see `work`" not in text
        for needed in (
            "LockTimeoutError: a lock",
            "OSError: input",
            "ValueError: an argument",
            "lock_timeout_s: for",
        ):
            assert needed in text


def test_the_package_offers_its_parts() -> None:
    script = """if True:
        import ostree_sweep, sys
        assert not [name for name in sys.modules if name.startswith("ostree_sweep.")]
        print(ostree_sweep.aio.prune.__name__, ostree_sweep.__version__)
        print(all(hasattr(ostree_sweep, name) for name in dir(ostree_sweep)))
    """
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    cargo = (PROJECT / "Cargo.toml").read_text(encoding="utf-8")
    version = cargo.split('version = "')[1].split('"')[0]
    assert done.stdout.split() == ["prune", version, "True"]


def test_a_cleanups_report_narrows() -> None:
    """What `isinstance` tells a type checker of an error's report; mypy checks this file, too."""
    error = ostree_sweep.OperationCancelled()
    if isinstance(error.report, CleanupReport):
        removed: tuple[str, ...] = error.report.deployments_removed
        assert removed is not None
    assert error.report is None
