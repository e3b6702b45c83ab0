"""How many random repositories are tried, and how."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = int(os.environ.get("OSTREE_SWEEP_EXAMPLES", "200"))


def examples(part: int = 1) -> settings:
    """Settings for a test that tries one in `part` of them: to make one with `ostree` takes a while."""
    return settings(
        max_examples=EXAMPLES // part,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
        # Explaining a failure takes longer than finding it.
        phases=set(Phase) - {Phase.explain},
    )
