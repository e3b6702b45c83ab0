"""The units for systemd, which differ from one installation to another only in the command's path."""

from __future__ import annotations

import os

from ..errors import OstreeSweepError

_COMMAND = "@command@"
_DIRECTORIES = {
    ".service": "lib/systemd/system",
    ".timer": "lib/systemd/system",
    ".preset": "lib/systemd/system-preset",
}


def install(root: str | os.PathLike[str] = "/", prefix: str = "/usr") -> list[str]:
    """Writes the units; those that are there are replaced. Turns nothing on.

    Args:
        root: the root of the system to install them in.
        prefix: where in that system the command is installed, in `bin`; units go to `lib/systemd`.

    Returns:
        The files written.

    Raises:
        OSError: one can't be written.
        OstreeSweepError: there is no such command.
        ValueError: the prefix is no absolute path.
    """
    from importlib.resources import files

    if not os.path.isabs(prefix):
        raise ValueError(f"--prefix: no absolute path: '{prefix}'")
    installed = os.path.join(root, prefix.lstrip("/"))
    # A unit that runs nothing would be found out at the first shutdown.
    if not os.access(os.path.join(installed, "bin/ostree-sweep"), os.X_OK):
        raise OstreeSweepError(
            f"{installed}/bin/ostree-sweep: there is no such command; say where by --prefix"
        )
    written = []
    for unit in sorted(files(__name__).iterdir(), key=lambda unit: unit.name):
        directory = _DIRECTORIES.get(os.path.splitext(unit.name)[1])
        if directory is not None:
            os.makedirs(os.path.join(installed, directory), exist_ok=True)
            path = os.path.join(installed, directory, unit.name)
            text = unit.read_text(encoding="ascii").replace(
                _COMMAND, os.path.join(prefix, "bin/ostree-sweep")
            )
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            written.append(path)
    return written
