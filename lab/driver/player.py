"""Plays a scenario's steps on a lab, one after the other, and those of a load's `during` beside it.

A load that has something beside it runs in a thread of its own, so that signals and the time limit still end the steps
in the main one. Rule: when `play` returns or raises, nothing is noted any more, whatever still comes from the lab.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

from lab.driver.evidence import Evidences, Round
from lab.driver.progress import Screen
from lab.driver.scenario import Scenario
from lab.driver.session import Session
from lab.driver.steps import (
    ControllerStep,
    FloodStep,
    LinkStep,
    LoadStep,
    PauseStep,
    PoolStep,
    ServerStep,
    Step,
    SwitchStep,
    SwitchWaitStep,
    WaitStep,
    describe,
)
from lab.record import RequestLog
from lab.wire import Request

CHECK_EVERY_S: Final = 0.25  # while requests fail: is the controller still alive?

Noted = Callable[[str], AbstractContextManager[dict[str, Any]]]


class Player:
    def __init__(
        self, scenario: Scenario, session: Session, evidence: Evidences, log: RequestLog, screen: Screen, noted: Noted
    ) -> None:
        """noted: enters a step, by its words, in the result."""
        self._scenario = scenario
        self._session = session
        self._agent = session.agent
        self._evidence = evidence
        self._log = log
        self._screen = screen
        self._noted = noted
        self._lock = threading.Lock()  # around all that takes note of a request
        self._over = False
        self._next_check = 0.0

    def play(self) -> None:
        """All steps. Raises LabError where the lab fails, or what a signal raises."""
        self._agent.clear_hits()
        self._evidence.begin_counting(self._session.status())
        try:
            for number, step in enumerate(self._scenario.steps):
                self._do(str(number), step)
        finally:
            with self._lock:
                self._over = True
        self._evidence.end_counting(self._session.status())

    def _do(self, place: str, step: Step) -> None:
        """place: of the step in the scenario, as in an expectation's name."""
        with self._noted(describe(step)) as entry:
            if isinstance(step, LoadStep):
                self._load(place, step, entry)
            else:
                self._screen.phase(f"{self._scenario.name}: {describe(step)}")
                outcome = self._act(step)
                if outcome:
                    entry["outcome"] = outcome
                    self._screen.say(f"{self._scenario.name}: {describe(step)}: {outcome}")

    # Loads

    def _load(self, place: str, step: LoadStep, entry: dict[str, Any]) -> None:
        with self._lock:
            running = self._evidence.begin_round(place, step)
        if not step.during:
            self._send(running)
        else:
            load = Beside(lambda: self._send(running))
            for number, action in enumerate(step.during):
                load.check()
                self._do(f"{place}.during.{number}", action)
            load.join()
        hits = self._session.server_hits(self._evidence.whole.hits)
        self._evidence.server_hits = hits
        entry["outcome"] = running.outcome

    def _send(self, running: Round) -> None:
        shown = "." not in running.place  # one that runs beside another leaves the screen to that
        title = self._scenario.name + (f" step {running.place}" if len(self._scenario.steps) > 1 else "")
        if shown:
            self._screen.begin_round(title, running.step)
        with contextlib.closing(self._agent.load(running.step.load)) as stream:
            for item in stream:
                if not isinstance(item, Request):
                    self._evidence.dropped += item.dropped
                    continue
                self._note(running, item, shown)
                if not item.ok:
                    self._check_controller()
        if shown:
            self._screen.end_round()
        else:
            self._screen.say(f"{title}: {running.outcome}")

    def _note(self, running: Round, request: Request, shown: bool) -> None:
        with self._lock:
            if self._over:
                return
            self._log.add(request)
            self._evidence.add(running, request)
            if shown:
                self._screen.request(request)

    def _check_controller(self) -> None:
        """Raises LabError when it has died, so that a load of thousands needn't fail to its end."""
        if time.monotonic() >= self._next_check:
            self._session.status()
            self._next_check = time.monotonic() + CHECK_EVERY_S

    # What else there is to do

    def _act(self, step: Step) -> str | None:
        """Do it; returns what came of it, where that is worth a line."""
        if isinstance(step, LinkStep):
            self._agent.link(step.state, host=step.host, between=step.between)
        elif isinstance(step, PauseStep):
            time.sleep(step.seconds)
        elif isinstance(step, WaitStep):
            self._session.wait_for_server(step.server, step.state, step.timeout_s)
        elif isinstance(step, SwitchWaitStep):
            self._session.wait_for_switch(step.switch, step.state, step.timeout_s)
        elif isinstance(step, ControllerStep):
            self._control(step.action)
        elif isinstance(step, SwitchStep):
            self._agent.restart_switches()
            self._returned()
        elif isinstance(step, ServerStep):
            self._agent.server(step.host, step.action)
        elif isinstance(step, PoolStep):
            self._agent.pool(step.service, step.server, step.action, ip=step.ip, weight=step.weight)
        elif isinstance(step, FloodStep):
            sent = self._agent.flood(step.flood)
            return f"{sent['sent']} SYNs in {sent['seconds']:.1f} s"
        return None

    def _control(self, action: str) -> None:
        """Its counters end with it, and the next one's begin at 0: they are added up."""
        if action != "start":
            self._evidence.end_counting(self._session.status())
            self._session.end_controller(kill=action == "kill")
        if action in ("start", "restart"):
            self._session.start_controller()
            self._returned()
            self._evidence.begin_counting({**self._session.status(), "statistics": None})

    def _returned(self) -> None:
        with self._lock:
            self._evidence.returned(time.time())


class Beside:
    """A call in a thread of its own; what it raises is raised by `check` or `join`.

    A daemon: after an error or an interruption of the main thread it ends with the lab that it speaks to."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # handed on below
            self._error = error

    def check(self) -> None:
        """Raise what it raised, if it did."""
        if self._error is not None:
            raise self._error

    def join(self) -> None:
        self._thread.join()
        self.check()
