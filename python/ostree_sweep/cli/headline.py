"""The first line of `status`: whether there is something to do, and the command that does it."""

from __future__ import annotations

from ..frozen import dataclass
from ..hints import TYPE_CHECKING
from .table import counted, size

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..views import Usage

# Of `status --check`, by what there is to do. What is not here is 3, as for a run that left something.
_EXIT_STATUS = {"nothing-to-do": 0, "blocked": 1, "unknown": 75}
_TONE = {"nothing-to-do": "good", "blocked": "bad", "unknown": "bad"}


@dataclass(frozen=True)
class Headline:
    """Whether there is something to do.

    Attributes:
        state: "nothing-to-do"; "due": a stamp asks for a cleanup; "reclaimable": space can be freed;
            "running": a cleanup is at work; "blocked": a cleanup would refuse; "unknown": a lock was held.
        summary: the same in a sentence, with the command to run.
    """

    state: str
    summary: str

    @property
    def exit_status(self) -> int:
        """The exit status of `status --check`."""
        return _EXIT_STATUS.get(self.state, 3)

    @property
    def tone(self) -> str:
        """The tone of the line on a terminal."""
        return _TONE.get(self.state, "attention")


def of_sysroot(data: Mapping[str, Any], *, is_busy: bool) -> Headline:
    """The first line for a sysroot.

    Args:
        data: what `status` found.
        is_busy: the figures are not known because a lock was held.
    """
    reclaimable, now = data["reclaimable"], data["running"]
    command = "ostree-sweep cleanup"
    if data["sysroot"] != "/":
        command += f" --sysroot={data['sysroot']}"
    if now is not None:
        return Headline("running", f"A cleanup is running (pid {now['pid']}, {now['phase']})")
    if "error" in reclaimable:
        if is_busy:
            return Headline("unknown", f"Not known yet: {reclaimable['error']}; try again later")
        return Headline("blocked", f"Cannot clean up: {reclaimable['error']}")
    freeable = reclaimable["disk_bytes"] + data["tmp"]["bytes"]
    due = "A cleanup is due" if data["stamp"] is not None else ""
    found = f"{size(freeable)} can be freed" if freeable else _leftover(len(data["leftovers"]))
    if not due and not found:
        return Headline("nothing-to-do", "Nothing to do")
    text = ", ".join(filter(None, (due, found)))
    return Headline("due" if due else "reclaimable", f"{text}: run '{command}'")


def of_repository(repo: str, unreachable: Mapping[str, Any], used: Usage) -> Headline:
    """The first line for a repository, by what `prune` deletes, and if that is nothing by what it keeps."""
    if "error" in unreachable:
        return Headline("unknown", f"Not known yet: {unreachable['error']}; try again later")
    if not unreachable["objects"] and (commits := used.unreferenced_commits):
        text = f"{size(used.garbage.disk_bytes)} in {counted(commits, 'commit')} without a ref"
        pronoun = "it" if commits == 1 else "them"
        return Headline(
            "nothing-to-do", f"Nothing unreachable; {text}: 'prune --refs-only' deletes {pronoun}"
        )
    if not unreachable["objects"]:
        return Headline("nothing-to-do", "Nothing to do")
    text = f"{size(unreachable['disk_bytes'])} can be freed: run 'ostree-sweep prune --repo={repo}'"
    return Headline("reclaimable", text)


def _leftover(count: int) -> str:
    return f"{count} leftover file{'' if count == 1 else 's'} can be removed" if count else ""
