"""Hooks for MkDocs: pages made of files outside of `docs`, and links between files as links between pages."""

from __future__ import annotations

import inspect
import os
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import griffe
from mkdocs.structure.files import File

import ostree_sweep

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_PROJECT = Path(__file__).parent.parent
_DOCUMENTS = {
    "index.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "SECURITY.md": "SECURITY.md",
    "findings.md": "findings/README.md",
}
_LINK = re.compile(r"(?<=\]\()(?!https?://|#)([^)#\s]+)(?=[#)])")
# An entry that describes several arguments.
_SEVERAL = re.compile(r"^ {4}((?:\w+,\s+)+\w+)(: .+(?:\n {8}.+)*)", re.MULTILINE)


class RuntimeDocstrings(griffe.Extension):
    """Takes what `help()` shows of a call: the package completes its docstrings when it is imported."""

    def on_function(self, *, func: griffe.Function, **_: object) -> None:
        """Completes a call's docstring."""
        if func.docstring is not None and "described" in {str(each.value) for each in func.decorators}:
            call = getattr(import_module(func.module.path), func.name)
            func.docstring.value = _SEVERAL.sub(_one_each, inspect.cleandoc(call.__doc__))


def _one_each(entry: re.Match[str]) -> str:
    return "\n".join(f"    {name}{entry[2]}" for name in re.split(r",\s+", entry[1]))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that have no file in `docs`."""
    pages = {page: (_PROJECT / source).read_text(encoding="utf-8") for page, source in _DOCUMENTS.items()}
    pages["findings.md"] += _listing("findings", ".sh")
    pages["examples.md"] = "# Examples\n" + _listing("examples", ".py")
    pages["reference.md"] = _reference()
    for page, text in pages.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turns links to files of the project into links to pages. All pages are in one directory."""
    source = _PROJECT / _DOCUMENTS.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(target: re.Match[str]) -> str:
        path = os.path.relpath(os.path.normpath(source.parent / target[1]), _PROJECT)
        directory, name = os.path.split(path)
        if directory in ("findings", "examples") and name != "README.md":
            return f"{directory}.md#{name.replace('.', '')}"
        return next((page for page, document in _DOCUMENTS.items() if document == path), name)

    return _LINK.sub(link, markdown)


def _listing(directory: str, suffix: str) -> str:
    """The files of a directory, each under a heading of its own."""
    return "".join(
        f"\n## {path.name}\n\n```{suffix[1:]}\n{path.read_text(encoding='utf-8')}```\n"
        for path in sorted((_PROJECT / directory).glob(f"*{suffix}"))
    )


def _reference() -> str:
    """The public names, by what `help()` says of them."""
    names = [name for name in ostree_sweep.__all__ if name != "aio"]
    calls = [name for name in names if name[0].islower()]
    classes = [name for name in names if name not in calls]
    parts = [
        "# Python API",
        "What `ostree_sweep` exports. `ostree_sweep.aio` has the same calls, awaitable.",
        *(f"::: ostree_sweep.{name}" for name in (*calls, *classes)),
        "## aio",
        "::: ostree_sweep.aio\n    options: {show_root_heading: false, heading_level: 3}",
    ]
    return "\n\n".join(parts) + "\n"
