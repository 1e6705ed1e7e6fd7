"""The engine, and what our labs leave on it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from lab.driver.backends import engine


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Any]:
    """The SDK's client. Where there is no engine, the marker has skipped the test already."""
    with contextlib.closing(engine.client()) as client:
        yield client


@pytest.fixture
def spotless(docker_engine: Any) -> Iterator[None]:
    """Containers, networks and volumes are the same after the test as before. Others' are looked at too."""
    before = listing(docker_engine)
    yield
    assert listing(docker_engine) - before == set()


def listing(client: Any) -> set[str]:
    names = {item["Names"][0] for item in client.api.containers(all=True)}
    names |= {item["Name"] for item in client.api.networks()}
    return names | {item["Name"] for item in client.api.volumes()["Volumes"] or []}
