"""The check of `make lint` that names circles among the files of `src` (`tests/imports/circles.py`)."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parents[1] / "imports" / "circles.py"))

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
    graph = CHECK["imports"](Path(__file__).parents[2] / "src")
    assert ("sweep", "objects") in graph[("prune",)]
    assert CHECK["circles"](graph) == []
