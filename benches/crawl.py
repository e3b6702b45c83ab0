"""A crawl with nothing to delete, beside `ostree prune`, flatpak's with its cache filled, and the floor.

Needs root, which may empty the page cache.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from repositories import SWEEP, core, drop_caches, make_repo

from measure import Contestant, as_it_is, report, run, table

OSTREE = Contestant(
    "`ostree prune --no-prune`",
    lambda repo: ["ostree", "prune", "--refs-only", "--no-prune", f"--repo={repo}"],
)
DRY_RUN = Contestant(
    "`ostree-sweep prune --dry-run`",
    lambda repo: [SWEEP, "prune", "--refs-only", "--dry-run", f"--repo={repo}"],
)
CORE = Contestant("the core alone", lambda repo: [core(), "crawl", repo])
FLOOR = Contestant("floor: the same reads and listings", lambda repo: [core(), "floor", repo])
# We read with as many threads what is not in memory.
COLD_FLOOR = Contestant(FLOOR.name, lambda repo: [core(), "floor", repo, "32"])
FLATPAK = Contestant(
    "`flatpak build-update-repo --prune`",
    lambda repo: ["flatpak", "build-update-repo", "--prune", "--no-update-summary", repo],
)
PRUNE = Contestant("`ostree-sweep prune`", lambda repo: [SWEEP, "prune", "--refs-only", f"--repo={repo}"])


def main() -> None:
    """Runs all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="counted runs of each contestant (default: 5)")
    parser.add_argument(
        "--dir", type=Path, help="where to make repositories: the file system that is measured"
    )
    parser.add_argument("--write", action="store_true", help="write to docs/performance.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as place:
        repos = {
            "A desktop system": (Path(place, "desktop"), "bare", "desktop", [OSTREE, DRY_RUN, CORE, FLOOR]),
            "A hub, flatpak's cache filled": (Path(place, "hub"), "archive", "hub", [FLATPAK, OSTREE, PRUNE]),
            "A history of 1,000 commits": (
                Path(place, "history"),
                "bare",
                "history",
                [OSTREE, DRY_RUN, CORE, FLOOR],
            ),
        }
        with report("crawl", write=arguments.write):
            for name, (repo, mode, shape, contestants) in repos.items():
                objects = make_repo(repo, mode, shape)

                @contextlib.contextmanager
                def cold(repo: Path = repo) -> Iterator[Path]:
                    drop_caches()
                    yield repo

                title = f"{name}, {objects:,} objects"
                table(f"{title}, warm", run(contestants, arguments.rounds, as_it_is(repo)))
                contestants = [
                    COLD_FLOOR if contestant is FLOOR else contestant for contestant in contestants
                ]
                table(f"{title}, cold", run(contestants, arguments.rounds, cold))


if __name__ == "__main__":
    main()
