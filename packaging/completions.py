"""Prints the completions for a shell: `completions.py bash`, `zsh` or `fish`."""

from __future__ import annotations

import argparse
import sys

import shtab

from ostree_sweep.cli.arguments import command_parser

# By what help calls an argument, what the shell is to offer for it.
_OFFERED = {"PATH": shtab.DIRECTORY, "FILE": shtab.FILE, "PLAN": shtab.FILE}


def _offer_paths(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for command in action.choices.values():
                _offer_paths(command)
        elif action.metavar in _OFFERED:
            action.complete = _OFFERED[action.metavar]  # type: ignore[attr-defined] # shtab's own


parser = command_parser()
_offer_paths(parser)
print(shtab.complete(parser, shell=sys.argv[1]))
