"""The documents: their examples run, their links lead somewhere, and no public name is missing."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

import pytest

import ostree_sweep
from ostree_sweep import Policy
from support.sysroots import BRANCH, COMMAND, PROJECT, Sysroot, output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), PROJECT / "packaging" / "pypi.md"])

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Example:
    """A fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.name}:{self.line}"


def examples() -> Iterator[Example]:
    for document in DOCUMENTS:
        content = document.read_text(encoding="utf-8")
        for block in _BLOCK.finditer(content):
            yield Example(document, content.count("\n", 0, block.start()) + 1, block[1], block[2])


def written_in(*languages: str) -> list[Example]:
    return [example for example in examples() if example.language in languages]


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Sysroot, str]]:
    """A sysroot that was updated to its third version, and which that is; a fourth is there to be staged."""
    sysroot = Sysroot.create(tmp_path_factory.mktemp("docs") / "sysroot")
    sysroot.deploy(1)
    third = sysroot.update(sysroot.deploy(2), 3)
    sysroot.commit(4)
    yield sysroot, third
    sysroot.remove()


@pytest.mark.needs_root
@pytest.mark.parametrize("example", written_in("python", "sh"), ids=str)
def test_example_runs(updated: tuple[Sysroot, str], tmp_path: Path, example: Example) -> None:
    """In a booted system with a staged update and a stamp, so never in the one that runs the tests."""
    original, third = updated
    sysroot = original.copy(tmp_path / "sysroot", linked=True)
    try:
        python = ["env", f"PYTHONPATH={PROJECT}/python", "/usr/bin/python3", "-c"]
        shell = ["env", f"PATH={COMMAND.parent}:/usr/sbin:/usr/bin", "sh", "-euc"]
        ready = f'ostree admin deploy --stage {BRANCH} >/dev/null; {COMMAND} stamp >/dev/null; exec "$@"'
        run = python if example.language == "python" else shell
        sysroot.boot(third, "sh", "-euc", ready, "sh", *run, example.text)
        sysroot.ostree("fsck", "--quiet")
    finally:
        sysroot.remove()


@pytest.mark.parametrize("example", written_in("toml"), ids=str)
def test_policy_is_one(tmp_path: Path, example: Example) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(example.text, encoding="utf-8")
    assert Policy.load(path).refs


def test_no_example_is_passed_over() -> None:
    """What isn't run, as it needs more than a booted system, has to say so: it is `text`."""
    for example in examples():
        if re.search(r"^(ostree-sweep |import |from )", example.text, re.MULTILINE):
            assert example.language in ("python", "sh", "text"), str(example)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(document: Path) -> set[str]:
    headings = _HEADING.findall(document.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_public_name_is_in_the_table() -> None:
    guide = (PROJECT / "docs" / "guide.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", guide, re.MULTILINE))
    assert sorted(rows) == sorted(ostree_sweep.__all__)
    errors = {name for name in rows if name.endswith(("Error", "Cancelled"))}
    raised = set(re.findall(r"`(\w+(?:Error|Cancelled))`", " ".join(rows.values())))
    assert raised - {"OSError", "TypeError", "ValueError"} == errors - {"OstreeSweepError"}


def test_the_site_is_whole(tmp_path: Path) -> None:
    """In strict mode, a link that leads nowhere stops MkDocs."""
    output("make", "-C", PROJECT, "--assume-old=build", "docs", f"DIST={tmp_path}")
    page = (tmp_path / "docs" / "reference" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="ostree_sweep.{name}"' in page for name in ostree_sweep.__all__ if name != "aio")
    assert 'id="ostree_sweep.aio.prune"' in page
    # Entries that the package completes when it is imported are in the tables.
    assert "see <code>work</code>" not in page
    index = json.loads((tmp_path / "docs" / "search" / "search_index.json").read_text(encoding="utf-8"))
    pages = {entry["location"].partition("#")[0] for entry in index["docs"]}
    documents = {f"{path.stem}/" for path in PROJECT.glob("docs/*.md")}
    assert pages >= {"", "reference/", "findings/", "examples/", *documents}


def test_every_finding_is_in_the_table_of_surprises() -> None:
    surprises = (PROJECT / "docs" / "surprises.md").read_text(encoding="utf-8")
    findings = {f"../findings/{path.name}" for path in PROJECT.glob("findings/*.sh")}
    assert {link for link in _LINK.findall(surprises) if link.endswith(".sh")} == findings


def test_the_threat_model_names_tests_that_exist() -> None:
    model = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in model.splitlines() if line.startswith("|") and line.count("|") == 5]
    heading, _, *owners = rows
    assert heading.endswith("| shown by |")
    assert len(owners) == 10
    for row in owners:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(
                rf"^def {test}\(", (PROJECT / "tests/python" / file).read_text("utf-8"), re.MULTILINE
            )
