"""Tests that need something of the machine: whether it is here, and what is said when it isn't.

A test is marked sandbox, compose or pox. Where what it needs is missing it is skipped, with the reason and the mend;
under CI, which has to prepare its machine, a sandbox or compose test fails instead. POX may be missing anywhere.
"""

from __future__ import annotations

import functools
import os
import signal

import pytest

from lab.driver import pox_supply
from lab.driver.backends import choose
from lab.driver.errors import LabError, UsageError

BACKENDS = ("compose", "sandbox")


def pytest_configure() -> None:
    """A shell that starts the tests in the background has them ignore SIGINT, and every program they start as well."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for backend in BACKENDS:
        if item.get_closest_marker(backend) and (why := lacks(backend)):
            refuse(f"{backend} can't run here: {why}")
    if item.get_closest_marker("pox") and (why := lacks_pox()):
        pytest.skip(why)


def refuse(why: str) -> None:
    """Skip loudly; under CI, fail."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@functools.cache
def lacks(backend: str) -> str:
    """What keeps a backend from running here, with what mends it; empty when nothing does."""
    try:
        gaps = choose(backend)[0].missing()
    except (LabError, UsageError) as error:
        return str(error)
    return "; ".join(f"{gap.what} (mend: {gap.mend})" for gap in gaps)


@functools.cache
def lacks_pox() -> str:
    try:
        result = pox_supply.find_pox()
    except UsageError as error:
        return str(error)
    return "" if result.path else result.why
