"""What the package costs who installs it: the wheel's size, and time and memory of its import."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[1]

PROGRAMS = {
    "python, and nothing imported": "pass",
    "`from ostree_sweep import auto_cleanup`": "from ostree_sweep import auto_cleanup",
    "its first call, which loads libostree": "import ostree_sweep.api, ostree_sweep.core",
}
# What wait4() tells of a process is the parent's where that is more.
PEAK = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"


def cost(command: Sequence[str | Path], rounds: int) -> tuple[float, float]:
    """Medians of a process' wall-clock time in ms and of its peak resident memory in MiB."""
    times, peaks = [], []
    for number in range(rounds + 1):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        elapsed = time.perf_counter() - start
        # The first one warms up.
        if number > 0:
            times.append(elapsed * 1e3)
            peaks.append(int(done.stdout.split()[-1]) / 2**10)
    return statistics.median(times), statistics.median(peaks)


def main() -> None:
    """Builds the wheel, installs it into an environment of its own, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="how often each is started (default: 30)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        command = ["make", "-C", PROJECT, "wheel", f"DIST={place}"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (wheel,) = place.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            core = archive.getinfo("ostree_sweep/_core.abi3.so").file_size
            unpacked = sum(info.file_size for info in archive.infolist())
        subprocess.run([sys.executable, "-m", "venv", place / "venv"], check=True)
        programs = place / "venv" / "bin"
        subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", wheel], check=True)
        print("| file | size |\n|---|---:|")
        for title, size in (
            ("the wheel", wheel.stat().st_size),
            ("unpacked", unpacked),
            ("of that, the core", core),
        ):
            print(f"| {title} | {size / 2**20:.2f} MiB |")
        print("\n| process | time | added | memory | added |\n|---|---:|---:|---:|---:|")
        bare_ms, bare_mib = 0.0, 0.0
        for title, text in PROGRAMS.items():
            ms, mib = cost([programs / "python", "-c", f"{text}\n{PEAK}"], rounds)
            if not bare_ms:
                bare_ms, bare_mib = ms, mib
            added = f"{ms - bare_ms:.0f} ms | {mib:.1f} MiB | {mib - bare_mib:.1f} MiB"
            print(f"| {title} | {ms:.0f} ms | {added} |")


if __name__ == "__main__":
    main()
