"""Draws a session of real output on a real sysroot, as SVG: `picture.py FILE [COLUMNS]`. Needs root."""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from support.sysroots import BRANCH, COMMAND, Sysroot, make_tree

# Of ten files each.
DIRECTORIES = 400
# Fonts from the network are no part of the picture.
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def commit(sysroot: Sysroot, version: int) -> str:
    """Commits a version, always under the same checksum."""
    tree = sysroot.path.with_name("tree")
    make_tree(tree, version, BRANCH, DIRECTORIES)
    owner = ("--owner-uid=0", "--owner-gid=0", "--canonical-permissions")
    date = f"--timestamp=2026-0{version}-01 12:00:00 +0000"
    checksum = sysroot.ostree("commit", f"--branch={BRANCH}", *owner, date, tree).strip()
    shutil.rmtree(tree)
    return checksum


def session(place: Path, columns: int) -> list[tuple[str, str]]:
    """Commands and what they print, in a system that was just updated to its third version."""
    sysroot = Sysroot.create(place / "sysroot")
    try:
        checksums = []
        for version in (1, 2):
            checksums.append(commit(sysroot, version))
            sysroot.admin("deploy", "--os=os", "--retain", BRANCH)
        newest = commit(sysroot, 3)
        stage = f"ostree admin deploy --stage {BRANCH} >/dev/null; ostree admin finalize-staged"
        sysroot.boot(checksums[-1], f"{stage}; {COMMAND} stamp >/dev/null")
        *_, file = sysroot.ostree("ls", "-C", newest, "/usr/share/7/1").split()[:5]
        commands = ["status", "du", f"why {file[:12]}", "cleanup", "status --check"]
        shown = []
        for command in commands:
            # A terminal of this width for stdout; the progress bar is for the eye only.
            line = f"stty cols {columns}; {COMMAND} {command} 2>/dev/null"
            done = sysroot.boot(newest, "script", "-qec", line, "/dev/null")
            shown.append((f"ostree-sweep {command}", done.stdout.replace("\r\n", "\n")))
        return shown
    finally:
        sysroot.remove()


def main() -> None:
    """Draws it."""
    columns = int(sys.argv[2]) if len(sys.argv) > 2 else 80
    with tempfile.TemporaryDirectory() as place:
        shown = session(Path(place), columns)
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    for command, output in shown:
        console.print(Text.assemble(("# ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(output))
    picture = console.export_svg(title="ostree-sweep", unique_id="session")
    Path(sys.argv[1]).write_text(WEB_FONT.sub("", picture), encoding="utf-8")


if __name__ == "__main__":
    main()
