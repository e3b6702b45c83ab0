"""Runs one of the targets in `readers.py`: `fuzz.py TARGET`, and what libFuzzer takes."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ostree_sweep", "tomllib"]):
    import readers

    target = readers.TARGETS[sys.argv.pop(1)]
    # What a call imports is instrumented as well.
    target(b"")

atheris.Setup(sys.argv, target)
atheris.Fuzz()
