"""Runs of scenarios on a lab made of air, for the tests of what a run does and leaves."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

from fake_lab import FakeBackend

from lab import wire
from lab.driver.plan import make_plan
from lab.driver.progress import PlainScreen
from lab.driver.runner import Run
from lab.driver.scenario import load
from lab.record import Result, RunFolder


class CountingScreen(PlainScreen):
    """Knows when the driver has seen so many requests."""

    def __init__(self, wanted: int = 0) -> None:
        super().__init__(io.StringIO())
        self.wanted, self.seen, self.reached = wanted, 0, threading.Event()

    def request(self, request: wire.Request) -> None:
        self.seen += 1
        if self.seen == self.wanted:
            self.reached.set()


class Runs:
    """Runs a scenario's text on the fake backend."""

    def __init__(self, folder: Path, backend: FakeBackend) -> None:
        self.folder, self.backend = folder, backend
        self.path: Path = folder
        self.screen = CountingScreen()
        self.run: Run | None = None

    def __call__(self, text: str, *, keep: bool = False, **changes: Any) -> Result:
        file = self.folder / "scenario.yaml"
        file.write_text(text)
        scenario = load(str(file), sets=[f"{key}={value}" for key, value in changes.items()])
        made = RunFolder.create(self.folder / "runs", scenario.name)
        self.path = made.path
        self.run = Run(
            scenario, lambda: make_plan(scenario, (self.backend, "made of air"), keep=keep), made, self.screen
        )
        return self.run.execute()

    def nothing_is_left(self) -> bool:
        """Each lab was taken down once, and the result on disk is the one that was returned."""
        assert self.run is not None
        return all(lab.downs == 1 for lab in self.backend.labs) and Result.read(self.path) == self.run.result
