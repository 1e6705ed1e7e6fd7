"""The supervisor's end, whatever it was asked before."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab import wire
from lab.engines.process import EngineError
from lab.engines.supervisor import Supervisor


class SlowEngine:
    """Runs a moment after it was told to."""

    def __init__(self) -> None:
        self.told, self.go_on, self.stopped = threading.Event(), threading.Event(), threading.Event()
        self.running = False

    def start(self, _config: wire.Controller) -> dict[str, Any]:
        self.told.set()
        assert self.go_on.wait(10)
        self.running = True
        return {}

    def stop(self) -> None:
        self.running = False
        self.stopped.set()


def test_no_engine_outlives_a_supervisor_that_ends_while_it_starts_one() -> None:
    engine = SlowEngine()
    supervisor = Supervisor(engine)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as beside:
        starting = beside.submit(supervisor.start, wire.default_controller())
        assert engine.told.wait(10)
        ending = beside.submit(supervisor.close)
        assert engine.stopped.wait(10)
        engine.go_on.set()
        starting.result(10)
        ending.result(10)
    assert not engine.running
    with pytest.raises(EngineError):
        supervisor.start(wire.default_controller())
