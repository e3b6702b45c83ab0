"""What all tests share: no silent skips, no marks of root's tests missing, and repositories to pull from."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from support.crash import LONG
from support.repositories import MODES, build_upstream
from support.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Generator

    from support.repositories import Repository

IN_CI = os.environ.get("CI") == "true"

# More than any test takes on a busy machine.
LIMIT_S = 14_400 if LONG else 600


def pytest_configure() -> None:
    """Processes that tests start must not ignore SIGINT, as those do that a shell runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item,
    nextitem: pytest.Item | None,  # noqa: ARG001 - pluggy passes arguments by name
) -> Generator[None, object, object]:
    """A test that takes longer than its limit fails, fixtures included; `time_limit` sets another one."""
    marker = item.get_closest_marker("time_limit")
    with time_limit(marker.args[0] if marker else LIMIT_S):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001 - pluggy passes arguments by name
    call: pytest.CallInfo[None],  # noqa: ARG001
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: what can't run there is not tested at all."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as a failure in CI: {report.longrepr}"
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `needs_root` are skipped for others."""
    if item.get_closest_marker("needs_root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def upstreams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Repository]:
    """Of each mode, a repository to pull from, which is only read."""
    place = tmp_path_factory.mktemp("upstreams")
    return {mode: build_upstream(place / mode, mode) for mode in MODES}
