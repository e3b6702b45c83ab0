"""Names circles among the files of `src`, that is files that import each other, and fails then.

A file imports what its `use` lines and its paths name (`crate::`, `super::`, `self::`). A name that a module
only re-exports counts as an import of the file that defines it, and a re-export itself is none. Tests do not
count.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Module = tuple[str, ...]

_SOURCE = Path(__file__).parents[2] / "src"

# Literals and comments.
_TEXT = re.compile(r"""r#".*?"#|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'|//[^\n]*|/\*.*?\*/""", re.S)
_TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod \w+ \{.*", re.S)
_USE = re.compile(r"(?P<public>\bpub(?:\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
_PATH = re.compile(r"(?<![\w:$])(?:crate|self|super)(?:::\w+)+")


def imports(source: Path) -> dict[Module, set[Module]]:
    """Which modules below `source` each of them imports."""
    files = {_module(path.relative_to(source)): path for path in source.rglob("*.rs")}
    texts = {
        module: _TESTS.sub("", _TEXT.sub("", path.read_text(encoding="utf-8")))
        for module, path in files.items()
        # What is compiled for tests only has names like these by convention.
        if not module or not module[-1].startswith("test")
    }
    exported = {
        (*module, name): path for module in texts for public, name, path in _uses(module, texts) if public
    }
    return {module: set(_imported(module, texts, exported)) - {module} for module in texts}


def circles(graph: dict[Module, set[Module]]) -> list[set[str]]:
    """The groups of modules in which each imports each other, directly or through others."""
    reached = {module: _reach(module, graph) for module in graph}
    found: list[set[str]] = []
    for module in graph:
        circle = {"::".join(other) for other in reached[module] if module in reached[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def _module(path: Path) -> Module:
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] in ("mod", "lib") else parts


def _expand(tree: str) -> Iterator[str]:
    """`a::{b, c::d}` as `a::b` and `a::c::d`."""
    head, brace, rest = tree.partition("{")
    if not brace:
        yield tree.strip()
        return
    depth, begin, inner = 0, 0, rest[: rest.rindex("}")]
    for at, char in enumerate([*inner, ","]):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            if inner[begin:at].strip():
                yield from (head.strip() + path for path in _expand(inner[begin:at].strip()))
            begin = at + 1


def _absolute(module: Module, path: str) -> Module | None:
    """Where `path` leads from the root of the crate; None if out of it."""
    first, *rest = path.split("::")
    if first not in ("crate", "self", "super"):
        return None
    base = () if first == "crate" else module if first == "self" else module[:-1]
    while rest and rest[0] == "super":
        base, rest = base[:-1], rest[1:]
    return (*base, *(part for part in rest if part != "self"))


def _uses(module: Module, texts: dict[Module, str]) -> Iterator[tuple[bool, str, Module]]:
    """Each name of a module's `use` lines: whether it is re-exported, the name, what it stands for."""
    for use in _USE.finditer(texts[module]):
        for leaf in _expand(use["tree"]):
            path, _, alias = leaf.partition(" as ")
            target = _absolute(module, path.strip())
            if target is not None:
                yield use["public"] is not None, alias.strip() or (target[-1] if target else ""), target


def _imported(module: Module, texts: dict[Module, str], exported: dict[Module, Module]) -> Iterator[Module]:
    body = _USE.sub("", texts[module])
    for public, name, target in _uses(module, texts):
        if public and not re.search(rf"(?<!\bmod )\b{name}\b", body):
            continue
        used = re.findall(rf"(?<![\w:]){name}((?:::\w+)+)", body) if target in texts else []
        # A module that is imported whole: what counts is which of its names are used.
        for rest in used or [""]:
            yield _defining((*target, *rest.split("::")[1:]), texts, exported)
    for path in _PATH.findall(body):
        named = _absolute(module, path)
        if named is not None:
            yield _defining(named, texts, exported)


def _defining(path: Module, texts: dict[Module, str], exported: dict[Module, Module]) -> Module:
    """The module that defines what `path` names, behind all re-exports."""
    for length in range(1, len(path) + 1):
        behind = exported.get(path[:length])
        if behind is not None and path[:length] not in texts:
            return _defining((*behind, *path[length:]), texts, exported)
    return next(path[:length] for length in range(len(path), -1, -1) if path[:length] in texts)


def _reach(module: Module, graph: dict[Module, set[Module]]) -> set[Module]:
    """What a module imports, directly or through others."""
    reached: set[Module] = set()
    ahead = list(graph[module])
    while ahead:
        other = ahead.pop()
        if other not in reached:
            reached.add(other)
            ahead.extend(graph[other])
    return reached


if __name__ == "__main__":
    found = [", ".join(sorted(circle)) for circle in circles(imports(_SOURCE))]
    for names in found:
        print(f"src: {names} import each other: a circle; move what they share to a file below")
    sys.exit(1 if found else 0)
