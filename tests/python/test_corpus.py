"""What the fuzz targets in Python check, for the corpus that is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import readers
from support.sysroots import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

CORPUS = PROJECT / "fuzz" / "corpus"


def sample(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("policy/*")), ids=sample)
def test_policies(path: Path) -> None:
    readers.policy(path.read_bytes())


@pytest.mark.parametrize("path", sorted(CORPUS.glob("stamp/*")), ids=sample)
def test_stamps(path: Path) -> None:
    readers.stamp(path.read_bytes())


@pytest.mark.needs_root
def test_origins() -> None:
    for path in sorted(CORPUS.glob("origin/*")):
        readers.origin(path.read_bytes())
