from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_lab import TOKEN, FakeAgent, FakeBackend, FakeLab
from fake_runs import Runs

from lab.driver import backends
from lab.driver.backends import registry


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


@pytest.fixture
def kept(home: Path, agent: FakeAgent, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> registry.Entry:
    """A lab in the register."""
    backend.labs.append(FakeLab("mine", agent))
    monkeypatch.setattr("lab.driver.backends.attach", backend.attach)
    entry = registry.Entry(name="mine", backend="fake", url=agent.url, token=TOKEN, started=time.time())
    registry.save(entry)
    return entry


@pytest.fixture
def runs(home: Path, backend: FakeBackend) -> Runs:
    return Runs(home, backend)
