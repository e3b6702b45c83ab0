"""Repositories to measure on, and the programs that make and work on them without Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

BIN = Path(sys.executable).parent
SWEEP = BIN / "ostree-sweep"
ROOT = Path(__file__).resolve().parent.parent


@cache
def core() -> Path:
    """Builds the benchmark of the core alone; returns its executable."""
    return _build("bench", "--bench=core", "--no-run")


@cache
def _generator() -> Path:
    return _build("build", "--release", "--features=test-util", "--example=generate")


def _build(*command: str) -> Path:
    built = subprocess.run(
        ["cargo", *command, "--locked", "--message-format=json"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return Path(next(message["executable"] for message in messages if message.get("executable")))


def make_repo(path: Path, mode: str, shape: str = "desktop", **numbers: int) -> int:
    """Makes a repository of a shape, with some other numbers than the shape's own.

    Returns how many objects it has. Nothing is left to be written back: whoever runs first would pay.
    """
    subprocess.run(["ostree", f"--repo={path}", "init", f"--mode={mode}"], check=True)
    changes = [f"{key}={number}" for key, number in numbers.items()]
    subprocess.run([_generator(), path, shape, *changes], check=True)
    os.sync()
    return sum(len(files) for _, _, files in os.walk(path / "objects"))


def drop_caches() -> None:
    """Empties the page cache, as only root may."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
