from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_lab import FakeAgent, FakeBackend

from lab.driver import backends


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    fake = FakeAgent()
    yield fake
    fake.stop()


@pytest.fixture
def backend(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    """The fake, in place of whatever backend is asked for."""
    fake = FakeBackend(agent)
    monkeypatch.setattr(backends, "choose", lambda name="auto": (fake, "made of air"))
    return fake


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, cache and register of kept labs."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("POX_SOURCE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
