"""The check of `make lint` that names circles among the files of `src` (`tests/imports/circles.py`)."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parents[1] / "imports" / "circles.py"))
SOURCE = Path(__file__).parents[2] / "src"

# `a` at the bottom, `b` above it.
STRAIGHT = {
    "lib.rs": "mod a;\nmod b;\n",
    "a.rs": "pub struct A;\n",
    "b.rs": "use crate::a::A;\npub struct B(A);\n",
}


def circles_of(directory: Path, files: dict[str, str]) -> list[set[str]]:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    found: list[set[str]] = CHECK["circles"](CHECK["imports"](directory))
    return found


def test_none_where_imports_lead_down(tmp_path: Path) -> None:
    assert circles_of(tmp_path, STRAIGHT) == []


@pytest.mark.parametrize(
    "back",
    [
        "use crate::b::B;\n",
        "use super::b::B;\n",
        "use crate::{\n    c::C,\n    b::{self, B},\n};\n",
        "pub use crate::b::B as Other;\nfn f(_: Other) {}\n",
        "fn f() -> crate::b::B { todo!() }\n",
        "use crate::b;\nfn f() -> b::B { todo!() }\n",
    ],
)
def test_an_import_back_is_a_circle(tmp_path: Path, back: str) -> None:
    assert circles_of(tmp_path, {**STRAIGHT, "a.rs": back}) == [{"a", "b"}]


def test_a_circle_of_three(tmp_path: Path) -> None:
    files = {"a.rs": "use crate::b::B;", "b.rs": "use crate::c::C;", "c.rs": "use crate::a::A;"}
    assert circles_of(tmp_path, {"lib.rs": "", **files}) == [{"a", "b", "c"}]


@pytest.mark.parametrize("importing", ["use super::Y;", "use crate::m;\nfn f(_: m::Y) {}"])
def test_a_re_export_neither_makes_nor_hides_a_circle(tmp_path: Path, importing: str) -> None:
    m = {"lib.rs": "mod m;\n", "m/mod.rs": "mod x;\nmod y;\npub use self::x::X;\npub use self::y::Y;\n"}
    one_way = {**m, "m/x.rs": importing, "m/y.rs": "pub struct Y;\n"}
    assert circles_of(tmp_path, one_way) == []
    assert circles_of(tmp_path, {**one_way, "m/y.rs": "use super::X;\n"}) == [{"m::x", "m::y"}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.rs", "// use crate::b::B;\n"),
        ("a.rs", "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n"),
        ("a/tests.rs", "use crate::b::B;\n"),
    ],
)
def test_comments_and_tests_do_not_count(tmp_path: Path, name: str, text: str) -> None:
    assert circles_of(tmp_path, {**STRAIGHT, name: text}) == []


def test_the_source_has_none() -> None:
    graph = CHECK["imports"](SOURCE)
    assert ("sweep", "objects") in graph[("prune",)]
    assert CHECK["circles"](graph) == []


def drawing() -> list[list[str]]:
    """The layers in docs/architecture.md, the lowest last."""
    text = (SOURCE.parent / "docs/architecture.md").read_text(encoding="utf-8")
    drawn = text.partition("## Layers")[2].split("```")[1]
    return [re.findall(r"[\w/]+(?:\.rs|/(?= |$))", line) for line in drawn.strip().splitlines()]


def floor_of(module: tuple[str, ...], floors: list[list[str]]) -> int:
    """The floor of what names the module most exactly: its file, or a directory or module that it is in."""
    name = "/".join(module)
    path = f"{name}/mod.rs" if (SOURCE / name / "mod.rs").exists() else f"{name}.rs"
    names = [(len(part), floor) for floor, parts in enumerate(floors) for part in parts if _holds(part, path)]
    assert names, f"docs/architecture.md: {path} has no floor"
    return max(names)[1]


def _holds(part: str, path: str) -> bool:
    return path == part or path.startswith(part if part.endswith("/") else part.removesuffix(".rs") + "/")


def test_imports_lead_down_the_floors_that_are_drawn() -> None:
    graph = CHECK["imports"](SOURCE)
    floors = drawing()
    up = [
        f"{'/'.join(module)} imports {'/'.join(other)}"
        for module in graph
        for other in graph[module]
        if module and other and floor_of(module, floors) > floor_of(other, floors)
    ]
    assert up == []
