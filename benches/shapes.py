"""Makes a repository of an extreme shape: `/usr/bin/python3 shapes.py REPO SHAPE NUMBER`.

By the system's Python, which has PyGObject: `ostree commit` makes none of these in an acceptable time.
"""

from __future__ import annotations

import base64
import itertools
import os
import struct
import sys
from pathlib import Path

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, GLib, OSTree  # noqa: E402

BEGIN = 1_700_000_000


class Maker:
    """Adds to a repository that has a commit, `main`, with a file in a directory."""

    def __init__(self, path: Path) -> None:
        """Opens it."""
        self.path = path
        self.repo = OSTree.Repo.new(Gio.File.new_for_path(str(path)))
        self.repo.open(None)
        _, self.root, self.tip = self.repo.read_commit("main", None)
        self.root.ensure_resolved()
        self.meta = self.root.tree_get_metadata_checksum()

    def deep(self, levels: int) -> None:
        """A directory in a directory, so many levels deep."""
        top = OSTree.MutableTree()
        top.set_metadata_checksum(self.meta)
        nested = [top]
        for _ in range(levels):
            _, below = nested[-1].ensure_dir("directory")
            below.set_metadata_checksum(self.meta)
            nested.append(below)
        _, root = self.repo.write_mtree(top, None)
        self.commit(root)

    def wide(self, entries: int) -> None:
        """A directory of so many files, all of the same content."""
        (child,) = self.root.enumerate_children("standard::name", Gio.FileQueryInfoFlags.NONE, None)
        content = bytes.fromhex(self.root.get_child(child.get_name()).get_checksum())
        names = [b"a-file-%07d\0" % number for number in range(entries)]
        files = [name + content + bytes([len(name)]) for name in names]
        # Serialized by hand: GLib's binding would take minutes.
        listed = b"".join(files) + struct.pack(f"<{entries}I", *itertools.accumulate(map(len, files)))
        data = GLib.Bytes(listed + struct.pack("<I", len(listed)))
        kind = GLib.VariantType("(a(say)a(sayay))")
        tree = GLib.Variant.new_from_bytes(kind, data, False)
        _, checksum = self.repo.write_metadata(OSTree.ObjectType.DIR_TREE, None, tree, None)
        mutable = OSTree.MutableTree.new_from_checksum(self.repo, bytes(checksum).hex(), self.meta)
        _, root = self.repo.write_mtree(mutable, None)
        self.commit(root)

    def long(self, commits: int) -> None:
        """A history of so many commits."""
        for number in range(commits):
            _, self.tip = self.repo.write_commit_with_time(
                self.tip, str(number), None, None, self.root, BEGIN + number, None
            )
        self.repo.transaction_set_ref(None, "main", self.tip)

    def large(self, commits: int) -> None:
        """A history of so many commits with 100 MiB of metadata each."""
        for number in range(commits):
            metadata = GLib.VariantDict()
            data = GLib.Bytes(bytes([number + 1]) * (100 << 20))
            value = GLib.Variant.new_from_bytes(GLib.VariantType("ay"), data, True)
            metadata.insert_value("example.large", value)
            _, self.tip = self.repo.write_commit(self.tip, str(number), None, metadata.end(), self.root, None)
        self.repo.transaction_set_ref(None, "main", self.tip)

    def refs(self, count: int) -> None:
        """So many refs to one commit, a thousand in each directory."""
        for number in range(count):
            directory = self.path / f"refs/heads/app-{number // 1000:03}"
            directory.mkdir(exist_ok=True)
            (directory / f"branch-{number:06}").write_text(f"{self.tip}\n", encoding="ascii")

    def deltas(self, count: int) -> None:
        """So many static deltas to a commit that stays."""
        to = base64.b64encode(bytes.fromhex(self.tip)).decode().rstrip("=").replace("/", "_")
        for _ in range(count):
            origin = base64.b64encode(os.urandom(32)).decode().rstrip("=").replace("/", "_")
            directory = self.path / "deltas" / origin[:2] / f"{origin[2:]}-{to}"
            directory.mkdir(parents=True)
            for name in ("superblock", "0"):
                (directory / name).write_bytes(bytes(100))

    def commit(self, root: OSTree.RepoFile) -> None:
        """Commits a tree as the newest of `main`."""
        _, commit = self.repo.write_commit(None, None, None, None, root, None)
        self.repo.transaction_set_ref(None, "main", commit)


if __name__ == "__main__":
    maker = Maker(Path(sys.argv[1]))
    maker.repo.prepare_transaction(None)
    getattr(maker, sys.argv[2])(int(sys.argv[3]))
    maker.repo.commit_transaction(None)
