"""Names what a reader of documents, docstrings, doc comments and help would stumble over, and fails then.

It knows words that stand for a picture where the field has a term, and subjects that do not say who acts.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = Path(__file__).parents[2]

# What to write instead of what.
RULES = {
    r"\bmanners?\b": "priority, rate limit",
    r"\bportions?\b": "batch, slice",
    r"\bfeels?\b": "what is measured: latency, throughput",
    r"\bthinks? (?:nothing|little)\b": "what it does",
    r"\brest(?:s|ed|ing)\b|\b(?:a|longer|shorter|each|no) rest\b": "pause, back off",
    r"\b(?:a|no|each) look\b|\*looks\b": "command that only reads; reads",
    r"\btells\b": "shows, says, returns",
    r"\bminds\b": "what the actor does or needs",
    r"\blets on\b": "what is known",
    r"\bnone of (?:our|its|their) business\b": "why it is left out",
    r"\bcome what may\b": "in every case",
    r"\bwhoever\b|\b(?:for|by|to|of|from) who\b": "the actor's name",
    r"(?:^|[.;:,|] )who (?:is|was|has|had|wants?|asks?|only|minds?|needs?)\b": "the actor's name",
    r"\b(?:he|his|him)\b": "the actor's name",
    r"\bwhat (?:goes|is to go|has to go|will have to go|would go|was to go)\b": "objects to delete",
    r"\bthat which\b": "the thing's name",
}

_DOC_COMMENT = re.compile(r"\s*//[/!] ?(.*)")


class Passage(NamedTuple):
    """A part of a file.

    Attributes:
        path: the file.
        line: its first line.
        text: its lines.
    """

    path: Path
    line: int
    text: str


def passages() -> Iterator[Passage]:
    """The documents without code, docstrings, doc comments, and the texts of help."""
    for path in sorted([*_PROJECT.glob("*.md"), *_PROJECT.glob("docs/*.md")]):
        # A changelog says what was true then.
        if path.name != "CHANGELOG.md":
            yield Passage(path, 1, _without_code(path.read_text(encoding="utf-8")))
    for path in sorted(_PROJECT.glob("python/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = ast.get_docstring(node, clean=False)
                if text is not None:
                    yield Passage(path, node.body[0].lineno, _without_code(text))
            elif isinstance(node, ast.keyword) and node.arg == "help":
                texts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
                yield Passage(path, node.value.lineno, " ".join(map(str, texts)))
    for path in sorted(_PROJECT.glob("src/**/*.rs")):
        lines = path.read_text(encoding="utf-8").splitlines()
        comments = [match[1] if (match := _DOC_COMMENT.match(line)) else "" for line in lines]
        yield Passage(path, 1, _without_code("\n".join(comments)))


def _without_code(text: str) -> str:
    """The text with blanks for code, so that lines keep their numbers."""
    blocks = re.sub(r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "``", blocks)


def found(passage: Passage) -> Iterator[str]:
    """What there is to say about a part of a file."""
    for number, line in enumerate(passage.text.splitlines(), passage.line):
        for pattern, instead in RULES.items():
            for match in re.finditer(pattern, line, re.IGNORECASE):
                place = f"{passage.path.relative_to(_PROJECT)}:{number}"
                yield f"{place}: '{match[0].strip(' .;:,|')}': write what it is ({instead})"


if __name__ == "__main__":
    complaints = [complaint for passage in passages() for complaint in found(passage)]
    print("\n".join(complaints), end="\n" if complaints else "")
    sys.exit(1 if complaints else 0)
