"""A progress bar for terminals."""

from __future__ import annotations

import sys
from contextlib import contextmanager

from ..hints import TYPE_CHECKING
from .table import doing, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..hints import ProgressCallback
    from ..progress import Progress


@contextmanager
def terminal_bar() -> Iterator[ProgressCallback | None]:
    """Gives a callback that draws a progress bar on stderr; None where stderr is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    # A serial console has no height, in which tqdm would draw nothing.
    with tqdm(file=sys.stderr, leave=False, nrows=2, unit="") as bar:
        phase = ""

        def draw(progress: Progress) -> None:
            nonlocal phase
            if progress.phase != phase:
                phase = progress.phase
                bar.reset()
                # What was done before the clock started is no measure of the rate.
                bar.initial = progress.done
            bar.set_description_str(doing(progress), refresh=False)
            bar.total = progress.total
            bar.n = progress.done
            bar.unit_scale = max(progress.done, progress.total or 0) >= 1000
            if progress.bytes_freed:
                bar.set_postfix_str(f"{size(progress.bytes_freed)} freed", refresh=False)
            bar.refresh()

        yield draw
