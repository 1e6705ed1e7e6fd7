"""One scenario from plan to verdict: lab up, steps, evidence, verdict, lab down; the run's folder holds it all.

The one rule: however a run ends, its result is written and its lab is gone (unless it is to be kept). Whatever ends a
run early comes as an exception, and `execute` alone turns it into a verdict and one sentence.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any, Final

from lab.driver.backends import registry
from lab.driver.errors import LabError, LeftBehind, UsageError
from lab.driver.evidence import Evidences
from lab.driver.guard import Guard, Interrupted, TimeLimit
from lab.driver.plan import Plan
from lab.driver.player import Player
from lab.driver.preload import preload
from lab.driver.progress import Screen
from lab.driver.scenario import Scenario
from lab.driver.session import Session
from lab.record import BROKEN, FAILED, INTERRUPTED, PASSED, SCENARIO, Result, RunFolder

DOWN_COMMAND: Final = "python lab/run_lab.py down --all"
TRACE: Final = "driver-trace.txt"


class Run:
    """One run of a scenario. `make_plan` is called when the run's folder is there to tell of its failure."""

    def __init__(self, scenario: Scenario, make_plan: Callable[[], Plan], folder: RunFolder, screen: Screen) -> None:
        self._scenario = scenario
        self._make_plan = make_plan
        self._folder = folder
        self._screen = screen
        self._evidence = Evidences(scenario)
        self._session: Session | None = None
        self.plan: Plan | None = None
        self._began = time.monotonic()
        self.caught = False  # a signal asked us to end, perhaps when all but the clean-up was done
        self.result = Result(
            scenario=scenario.name,
            about=scenario.about,
            name=folder.path.name,
            started=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            policy=scenario.policy,
            mode=scenario.mode,
        )

    @property
    def kept(self) -> str | None:
        """Name of the lab that this run leaves behind on purpose."""
        keep = self.plan is not None and self.plan.keep and self.result.verdict != INTERRUPTED
        return self._session.lab.name if keep and self._session and self._session.lab.alive() else None

    def execute(self) -> Result:
        """Run it. Raises UsageError alone (nothing was started); everything else is in the result."""
        with Guard() as guard:
            try:
                self._run(guard)
            except BaseException as error:
                guard.shield()
                self._give_up(error, guard)
                if isinstance(error, UsageError):
                    raise
            finally:
                guard.shield()
                self._finish()
                self.caught = guard.caught is not None
        return self.result

    def _run(self, guard: Guard) -> None:
        self._folder.write(SCENARIO, self._scenario.dump())
        self.plan = plan = self._make_plan()
        self._note_choices(plan)
        plan.backend.prepare(plan.pox)
        guard.limit(self._scenario.time_limit_s)
        with self._timed("bring_up"):
            self._bring_up(plan)
        with self._timed("run"):
            self._do_steps()
        self.result.expectations = self._evidence.expectations()
        held = all(expectation.passed for expectation in self.result.expectations)
        self.result.verdict = PASSED if held else FAILED

    def _note_choices(self, plan: Plan) -> None:
        self.result.backend, self.result.engine = plan.backend.name, plan.engine
        self.result.why = {"backend": plan.backend_why, "engine": plan.engine_why}
        self._screen.say(f"backend {plan.backend.name} ({plan.backend_why})")
        self._screen.say(f"engine  {plan.engine} ({plan.engine_why})")

    def _bring_up(self, plan: Plan) -> None:
        self._screen.phase(f"{self._scenario.name}: bringing up the lab")
        # From this very thread: a sandbox dies with the thread that started it, so that it can't outlive us.
        lab = plan.backend.up(free_name(self._scenario.name, plan.keep), plan.pox, plan.keep)
        self._session = session = Session(lab)
        if plan.keep:
            registry.set_scenario(lab.name, self._scenario.name)
        session.build(plan)
        self.result.datapath = session.network.get("datapath")
        self.result.engine = session.controller.get("engine", plan.engine)
        self.result.versions = session.versions
        self.result.notes += session.notes

    def _do_steps(self) -> None:
        session = self._need_session()
        preload("lab.driver.summary", "lab.report.html")  # for the end
        with self._folder.requests() as log:
            player = Player(self._scenario, session, self._evidence, log, self._screen, self._step)
            player.play()
        if self._scenario.needs_pingall:
            self._screen.phase(f"{self._scenario.name}: every host pings every other")
            with self._step("pingall"):
                self._evidence.pings = session.agent.pingall()

    def _give_up(self, error: BaseException, guard: Guard) -> None:
        """Verdict and sentence for whatever ended the run early."""
        self.result.verdict = INTERRUPTED if isinstance(error, Interrupted) else BROKEN
        if isinstance(error, LeftBehind):
            self.result.left = str(error)
        if isinstance(error, Interrupted):
            self.result.reason = f"stopped by {guard.caught.name if guard.caught else 'a signal'}"
        elif isinstance(error, TimeLimit):
            self.result.reason = f"the run passed its time limit of {self._scenario.time_limit_s:g} s"
        elif isinstance(error, LabError) and self._session:
            self.result.reason = self._session.explain(error)
        elif isinstance(error, (LabError, UsageError)):
            self.result.reason = str(error)
        else:
            where = self._folder.path / TRACE
            self.result.reason = f"an internal error ended the run: {type(error).__name__}: {error} (details: {where})"
            with contextlib.suppress(OSError):
                self._folder.write(TRACE, "".join(traceback.format_exception(error)))

    def _finish(self) -> None:
        """Collect, tear down, write. Nothing in here may keep the rest from being done."""
        self._evidence.fill(self.result)
        files: dict[str, str] = {}
        try:
            self._screen.phase(f"{self._scenario.name}: tearing down the lab")
            files = self._collect()
        except Exception as error:
            self.result.notes.append(f"Logs and flow tables could not be collected: {error}")
        with self._timed("tear_down"):
            self._tear_down()
        self._screen.close()
        for name, text in files.items():
            self._write(name, text)
        self.result.duration_s = round(time.monotonic() - self._began, 3)
        self.result.write(self._folder.path)

    def _collect(self) -> dict[str, str]:
        if self._session is None:
            return {}
        agent = self._session.agent
        if self.result.verdict in (BROKEN, INTERRUPTED):
            agent.be_quick()
            with contextlib.suppress(LabError):  # what the servers saw before the end, where they can still be asked
                self._evidence.server_hits = {host: len(hits) for host, hits in agent.hits().items()}
                self._evidence.fill(self.result)
        return self._session.files()

    def _tear_down(self) -> None:
        session = self._session
        if session is None:
            return
        try:
            if self.kept:
                return
            session.lab.down()
        except LeftBehind as error:
            self.result.left = str(error)
        except Exception as error:
            self.result.left = f"the lab {session.lab.name} could not be torn down ({error}): {DOWN_COMMAND}"

    def _write(self, name: str, text: str) -> None:
        try:
            self._folder.write(name, text)
        except OSError as error:
            self.result.notes.append(f"{name} could not be written: {error.strerror}")

    def _need_session(self) -> Session:
        assert self._session is not None
        return self._session

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.result.timing_s[phase] = round(time.monotonic() - began, 3)

    @contextlib.contextmanager
    def _step(self, what: str) -> Iterator[dict[str, Any]]:
        """An entry in the result for something that is done now; what came of it may be added as `outcome`."""
        entry: dict[str, Any] = {"what": what, "started_s": round(time.monotonic() - self._began, 3), "ended_s": None}
        self.result.steps.append(entry)
        yield entry
        entry["ended_s"] = round(time.monotonic() - self._began, 3)


def free_name(scenario: str, keep: bool) -> str:
    """A name for a lab: short where the user will type it, else one that no other run can have."""
    if not keep:
        return f"{scenario[:40]}-{os.getpid()}"
    taken = {entry.name for entry in registry.entries()}
    names = (scenario[:50] if n == 1 else f"{scenario[:50]}-{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)
