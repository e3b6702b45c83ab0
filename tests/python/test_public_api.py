"""No public name, argument or field comes, goes or changes its default without being listed."""

from __future__ import annotations

import difflib

from support.public_api import public_api
from support.sysroots import PROJECT

LISTED = PROJECT / "tests" / "python" / "public_api.txt"


def test_the_public_interface_is_the_listed_one() -> None:
    listed = LISTED.read_text(encoding="utf-8").splitlines()
    changed = "\n".join(difflib.unified_diff(listed, public_api(), "listed", "now", n=0, lineterm=""))
    assert not changed, (
        f"{changed}\n\nIf it is to be so, say it in CHANGELOG.md,\n"
        f"and write {LISTED.relative_to(PROJECT)} anew by tests/python/support/public_api.py"
    )
