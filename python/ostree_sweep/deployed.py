"""What a deployed file is in the commit that it was deployed from."""

from __future__ import annotations

import os

from .errors import OstreeSweepError

_CHECKSUM_LENGTH = 64


def is_path(name: str) -> bool:
    """Whether a name is a path, not a ref's or an object's."""
    return name.startswith(("/", "./", "../"))


def object_at(path: str) -> str | None:
    """The name of the object whose file this would be, by the path alone."""
    above, directory, name = ["", "", *path.split("/")][-3:]
    checksum, _, kind = f"{directory}{name}".partition(".")
    is_object = above == "objects" and len(directory) == 2 and len(checksum) == _CHECKSUM_LENGTH and kind
    return f"{checksum}.{kind}" if is_object else None


def is_deployed(path: str) -> bool:
    """Whether there is such a file in a deployment's checkout."""
    return os.path.lexists(path) and _split(os.path.abspath(path))[0] is not None


def in_commit(path: str) -> str:
    """A deployed file's commit and path in it, `COMMIT:/PATH`; by default it's in the booted deployment.

    Raises:
        OstreeSweepError: it is in no deployment.
    """
    directory, name = os.path.split(os.path.abspath(path))
    # The file itself may be a symlink that was deployed.
    real = os.path.join(os.path.realpath(directory), name)
    commit, inside = _split(real)
    if commit is None:
        commit, inside = _booted(), real
    if commit is None:
        raise OstreeSweepError(f"{path}: it is in no deployment, and no object")
    if inside.split("/")[1] == "etc":
        # Deployed from there.
        inside = f"/usr{inside}"
    return f"{commit}:{inside}"


def _split(path: str) -> tuple[str | None, str]:
    """The commit of a path below `ostree/deploy/STATEROOT/deploy/COMMIT.SERIAL`, and the rest of the path."""
    parts = path.split("/")
    for at, part in enumerate(parts[4:], 4):
        commit, dot, serial = part.partition(".")
        is_name = len(commit) == _CHECKSUM_LENGTH and dot and serial.isdecimal()
        if is_name and parts[at - 4 : at - 2] == ["ostree", "deploy"] and parts[at - 1] == "deploy":
            return commit, f"/{'/'.join(parts[at + 1 :])}"
    return None, path


def _booted() -> str | None:
    from . import core

    try:
        deployments = core.status("/")["deployments"]
    except (OstreeSweepError, OSError):
        return None
    return next((each["checksum"] for each in deployments if each["booted"]), None)
