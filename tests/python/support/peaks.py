"""How much memory a command takes."""

from __future__ import annotations

import subprocess
import sys

# A child begins with its parent's peak: this parent is small, a test's process is not.
_WAITS = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(done.returncode)
"""


def run_measured(*command: object) -> tuple[subprocess.CompletedProcess[str], int]:
    """Runs a command for 60 s at most; returns its outcome and its peak of memory, in MiB."""
    wrapped = [sys.executable, "-I", "-S", "-c", _WAITS, *map(str, command)]
    done = subprocess.run(wrapped, check=False, capture_output=True, text=True, timeout=60)
    *lines, peak = done.stderr.splitlines()
    done.stderr = "".join(f"{line}\n" for line in lines)
    return done, int(peak) // 1024
