"""The units for systemd, which differ from one installation to another only in the command's path."""

from __future__ import annotations

import errno
import os
import re
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..errors import OstreeSweepError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMMAND = "@command@"
_DIRECTORIES = {
    ".service": "lib/systemd/system",
    ".timer": "lib/systemd/system",
    ".preset": "lib/systemd/system-preset",
}
# As many as the kernel follows.
_MAX_LINKS = 40


def install(root: str | os.PathLike[str] = "/", prefix: str = "/usr") -> list[str]:
    """Writes the units durably; those that are there are replaced. Turns nothing on.

    Symlinks below `root` are followed as in a system that has it as its root: none leads out of it.

    Args:
        root: the root of the system to install them in.
        prefix: where in that system the command is installed, in `bin`; units go to `lib/systemd`.

    Returns:
        The files written.

    Raises:
        OSError: one can't be written.
        OstreeSweepError: there is no such command.
        ValueError: the prefix is no absolute path, or no unit can name it.
    """
    from importlib.resources import files

    parts = prefix.split("/")
    if not os.path.isabs(prefix) or ".." in parts:
        raise ValueError(f"--prefix: no absolute path without '..': '{prefix}'")
    command = _quoted(os.path.join(prefix, "bin/ostree-sweep"))
    installed = os.path.join(root, prefix.lstrip("/"))
    # A unit that runs nothing would be found out at the first shutdown.
    if not _is_command(root, prefix):
        raise OstreeSweepError(
            f"{installed}/bin/ostree-sweep: there is no such command; say where by --prefix"
        )
    written = []
    for unit in sorted(files(__name__).iterdir(), key=lambda unit: unit.name):
        below = _DIRECTORIES.get(os.path.splitext(unit.name)[1])
        if below is not None:
            text = unit.read_text(encoding="ascii").replace(_COMMAND, command)
            path = os.path.join(installed, below, unit.name)
            with _directory(root, f"{prefix}/{below}", create=True) as directory:
                _replace(directory, unit.name, text.encode(), path)
            written.append(path)
    return written


def _quoted(path: str) -> str:
    """A command's path as units name it, systemd.service(5).

    Raises:
        ValueError: they can't.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ValueError(f"--prefix: not UTF-8, which units have to be: {path!a}") from None
    # systemd takes none of these in an executable's name.
    if not path.isprintable() or set(path) & set("\"\\'$"):
        raise ValueError(f"--prefix: no unit can name a command there: {path!r}")
    escaped = path.replace("%", "%%")
    return escaped if re.fullmatch(r"[\w./%+-]+", escaped) else f'"{escaped}"'


def _is_command(root: str | os.PathLike[str], prefix: str) -> bool:
    try:
        with _directory(root, f"{prefix}/bin", create=False) as directory:
            return os.access("ostree-sweep", os.X_OK, dir_fd=directory)
    except FileNotFoundError:
        return False


@contextmanager
def _directory(root: str | os.PathLike[str], path: str, *, create: bool) -> Iterator[int]:
    """Opens a directory below a root, one part after the other; what is missing is made."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    opened = [os.open(root, flags)]
    left, links = deque(path.split("/")), 0
    try:
        while left:
            part = left.popleft()
            if part == ".." and len(opened) > 1:
                os.close(opened.pop())
            if part in ("", ".", ".."):
                continue
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o755, dir_fd=opened[-1])
            try:
                opened.append(os.open(part, flags | os.O_NOFOLLOW, dir_fd=opened[-1]))
            except OSError as error:
                links += 1
                if error.errno not in (errno.ENOTDIR, errno.ELOOP) or links > _MAX_LINKS:
                    raise OSError(error.errno, error.strerror, os.path.join(root, path.lstrip("/"))) from None
                target = os.readlink(part, dir_fd=opened[-1])
                if target.startswith("/"):
                    while len(opened) > 1:
                        os.close(opened.pop())
                left.extendleft(reversed(target.split("/")))
        yield opened[-1]
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _replace(directory: int, name: str, content: bytes, path: str) -> None:
    scratch = f".{name}.{os.urandom(8).hex()}"
    try:
        descriptor = os.open(
            scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory
        )
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            os.rename(scratch, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(scratch, dir_fd=directory)
            raise
        os.fsync(directory)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
