"""Help: common options on one screen, the rest in groups, examples that are right."""

from __future__ import annotations

import os
import re
import shlex
import subprocess

import pytest

from ostree_sweep.cli import arguments
from ostree_sweep.cli.commands import COMMANDS
from support.sysroots import COMMAND


def help_of(*words: str) -> str:
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(
        [COMMAND, *words], check=True, capture_output=True, text=True, env=environment
    ).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_common_options_fit_a_screen_and_examples_are_right(command: str) -> None:
    text = help_of(command, "--help")
    assert max(map(len, text.splitlines())) <= 80
    usage, _, rest = text.partition("common options:\n")
    common, _, _ = rest.partition("\n\n")
    assert len((usage + common).splitlines()) <= 24
    assert re.findall(r"^(\w[^:]*):$", rest, re.MULTILINE)[0] == "output"
    examples = text.partition("examples:\n")[2].splitlines()
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" >")[0])
        assert words[:2] == ["ostree-sweep", command]
        assert arguments.parse(words[1:]).command == command


def test_help_is_a_command_too() -> None:
    assert help_of("help", "prune") == help_of("prune", "--help")
    assert help_of("help") == help_of("--help")
    wrong = subprocess.run([COMMAND, "help", "prnue"], check=False, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "there is no command 'prnue'; did you mean prune?" in wrong.stderr
