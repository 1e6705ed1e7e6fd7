"""A lab at work: its backend's processes, its network and its controller, connected, with what a run asks of them.

`build` does the two slow things, network and controller, at the same time. The one rule: a call that fails says what
really happened: where the lab or the controller died, that is the sentence, not the broken connection it caused.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lab.driver.backends.base import Lab
from lab.driver.errors import LabError
from lab.driver.guard import wait_until

if TYPE_CHECKING:
    from lab.driver.agent_client import Agent
    from lab.driver.plan import Plan

SERVERS_UP_S: Final = 20.0  # stock POX takes 5 s for the last of two servers
LOGS_SETTLE_S: Final = 2.0  # a server's log may be a breath behind its answer
DRAINED: Final = "maint"  # as the balancer says it
DEATH_S: Final = 0.5  # from the agent's last breath until its backend knows


class Session:
    def __init__(self, lab: Lab) -> None:
        from lab.driver.agent_client import Agent  # imported while the lab starts: see preload

        self.lab = lab
        self.agent: Agent = Agent(lab.url, lab.token)
        self.network: dict[str, Any] = {}  # the agent's answer: datapath, tracker, hash, versions
        self.notes: list[str] = []  # for the result
        self.controller: dict[str, Any] = {}  # the supervisor's: engine, versions
        self._ended = False  # the controller, by a step: that it is dead is no news

    def build(self, plan: Plan) -> None:
        """Network and controller up and connected, and every server found to be up."""
        scenario = plan.scenario
        controller = replace(scenario.controller(verbose=plan.verbose), engine=plan.engine)
        self.network, self.controller = together(
            lambda: self.agent.put_network(scenario.network()), lambda: self.agent.put_controller(controller)
        )
        self.check_mode(scenario.mode, scenario.stateful)
        self.agent.connect_network()
        self.wait_for_servers({server for pool in scenario.servers.values() for server in pool})

    def check_mode(self, mode: str, stateful: bool) -> None:
        """Raises LabError: the switch can't do what the mode needs, and connections would hang or break."""
        datapath = f"Open vSwitch's {self.network.get('datapath')} datapath here"
        stateless = mode == "proactive" and not stateful
        if mode != "reactive" and not stateless and self.network.get("tracker") is False:
            text = f"mode {mode} needs a connection tracker, and {datapath} has none"
            raise LabError(f"{text}; use --mode reactive")
        if mode == "proactive" and self.network.get("hash") is False:
            text = (
                f"{datapath} makes no hash of addresses and ports for a group, so packets sent again may be hashed anew"
            )
            if stateless:
                raise LabError(f"{text} and connections would break; use controller.stateful: true")
            self.notes.append(f"{text}; connections stay where they are, and shares may be uneven")

    @property
    def versions(self) -> dict[str, str | None]:
        """Of every program in the lab; None: not there."""
        unknown = dict.fromkeys(("open_vswitch", "mininet", "pox", "os_ken"))
        return {**unknown, **self.network.get("versions", {}), **self.controller.get("versions", {})}

    def status(self) -> dict[str, Any]:
        """What the supervisor says of the controller. Raises LabError: it has died, and not by a step."""
        status = self.agent.controller()
        if (sentence := _death(status)) and not self._ended:
            raise LabError(self._with_last_words(sentence))
        return status

    def end_controller(self, *, kill: bool) -> None:
        """As a crash would (kill -9), or in order."""
        self._ended = True
        if kill:
            self.agent.kill_controller()
        else:
            self.agent.stop_controller()

    def start_controller(self) -> None:
        """Start it again, as it was configured; it listens then, and the switches come by themselves."""
        self.agent.start_controller()
        self._ended = False

    def wait_for_server(self, server: str, state: str, seconds: float) -> None:
        """Until every service that has it holds `server` for `state`: up, down, or drained (no connection is left).

        Raises LabError after `seconds`."""
        key, wanted = ("admin", {DRAINED}) if state == "drained" else ("state", {state})
        if not wait_until(lambda: self._states(key).get(server) == wanted, seconds):
            raise LabError(f"{server} was not held for {state} after {seconds:g} s")

    def wait_for_switch(self, switch: str, state: str, seconds: float) -> None:
        """Until `switch` is connected (up) or not (down). Raises LabError after `seconds`."""
        wanted = state == "up"
        if not wait_until(lambda: self.agent.network()["connected"].get(switch) is wanted, seconds):
            raise LabError(f"{switch} was {'not' if wanted else 'still'} connected after {seconds:g} s")

    def server_hits(self, at_least: Mapping[str, int]) -> dict[str, int]:
        """Requests in each server's own log, once they are all there: no fewer than its clients have seen answered."""
        found: dict[str, int] = {}

        def settled() -> bool:
            found.update((host, len(hits)) for host, hits in self.agent.hits().items())
            return all(found.get(server, 0) >= count for server, count in at_least.items())

        wait_until(settled, LOGS_SETTLE_S)
        return found

    def explain(self, error: LabError) -> str:
        """What `error` comes from, in one sentence."""
        with contextlib.suppress(LabError):
            sentence = None if self._ended else _death(self.agent.controller())
            return self._with_last_words(sentence) if sentence else str(error)
        with contextlib.suppress(LabError):  # the backend's engine may be what has died
            if wait_until(lambda: not self.lab.alive(), DEATH_S):
                return f"the lab ended during the run: {self.lab.why_dead()}"
        return str(error)

    def files(self) -> dict[str, str]:
        """Logs and flow tables, as far as they can be had: file name → text."""
        found = dict(self.lab.logs())
        for name, ask in (("flows.txt", self.agent.flows), ("controller.log", self.agent.controller_log)):
            with contextlib.suppress(LabError):
                found[name] = ask()
        return found

    def _states(self, key: str = "state") -> dict[str, set[str]]:
        """Server → the states that its services hold it for; key "admin": what the operator wants of it."""
        states: dict[str, set[str]] = {}
        statistics = self.status().get("statistics") or {}
        for service in (statistics.get("services") or {}).values():
            for server, facts in service["servers"].items():
                states.setdefault(server, set()).add(facts[key])
        return states

    def wait_for_servers(self, wanted: Collection[str]) -> None:
        """Until the balancer finds life in all of them. Raises LabError after a time that suffices."""

        def missing() -> list[str]:
            states = self._states()
            return sorted(server for server in wanted if states.get(server) != {"up"})

        if not wait_until(lambda: not missing(), SERVERS_UP_S):
            raise LabError(f"the balancer found no life in {', '.join(missing())} within {SERVERS_UP_S:g} s")

    def _with_last_words(self, sentence: str) -> str:
        log = ""
        with contextlib.suppress(LabError):
            log = self.agent.controller_log()
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        return f"{sentence}; last in its log: {lines[-1][:200]}" if lines else f"{sentence}; its log is empty"


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run `calls` at the same time, a thread each; their results in order. Raises the first error, without waiting.

    The threads are daemons: after an error or an interruption they end with the lab they speak to."""
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            done.put((index, call(), None))
        except BaseException as error:  # handed to the caller below
            done.put((index, None, error))

    for index, call in enumerate(calls):
        threading.Thread(target=run, args=(index, call), daemon=True).start()
    results: dict[int, Any] = {}
    while len(results) < len(calls):
        index, result, error = done.get()
        if error is not None:
            raise error
        results[index] = result
    return [results[index] for index in range(len(calls))]


def _death(status: Mapping[str, Any]) -> str | None:
    """How the engine died; None: it lives, or was never started."""
    code = status.get("exit_code")
    if status.get("running") or code is None:
        return None
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"the controller ({status.get('engine')}) {how} during the run"
