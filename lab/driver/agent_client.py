"""The driver's one door into a lab: the agent's HTTP API as typed calls.

Every call may be made from any thread. The one rule: whatever goes wrong on the way, refused, broken or lost, comes out
as LabError with one sentence; nothing of the HTTP library gets past this module.
"""

from __future__ import annotations

import contextlib
import json
import urllib.parse
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lab import wire
from lab.driver.errors import LabError
from lab.driver.http_call import Answer, CallError, Silent, call

if TYPE_CHECKING:
    from lab import wire_bench

CONNECT_S: Final = 5.0  # the agent is on this machine
ANSWER_S: Final = 60.0  # the longest that one call may be silent; the run's own time limit is usually less
STATE_S: Final = 5.0  # a question about the state is answered at once, or not at all


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadEnd:
    """The last line of a load: what the agent says it did."""

    sent: int
    dropped: int


class Refused(LabError):
    """The agent said no to what was asked (4xx): not the lab's fault."""


class Agent:
    """A lab's agent at `url` (http://127.0.0.1:PORT), spoken to with the lab's token."""

    def __init__(self, url: str, token: str) -> None:
        place = urllib.parse.urlsplit(url)
        self._address = (place.hostname or "127.0.0.1", place.port or wire.AGENT_PORT)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._longest_s = float("inf")

    def be_quick(self, seconds: float = 2.0) -> None:
        """From here on no answer is waited for longer than this: the user wants to go home."""
        self._longest_s = seconds

    def health(self) -> dict[str, Any]:
        return self._json("GET", "/health", timeout_s=STATE_S)

    def put_network(self, network: wire.Network) -> dict[str, Any]:
        """Build the network; not yet connected to a controller. Gives {"datapath", "tracker", "hash", "versions"}."""
        return self._json("PUT", "/network", wire.encode(network))

    def connect_network(self) -> None:
        self._call("POST", "/network/connect", {}).close()

    def network(self) -> dict[str, Any]:
        return self._json("GET", "/network", timeout_s=STATE_S)

    def delete_network(self) -> None:
        self._call("DELETE", "/network").close()

    def put_controller(self, controller: wire.Controller) -> dict[str, Any]:
        """Start the engine. Gives {"engine", "why", "pid", "versions"}."""
        return self._json("PUT", "/controller", wire.encode(controller))

    def controller(self) -> dict[str, Any]:
        """{"running", "engine", "pid", "exit_code", "versions", "statistics"}."""
        return self._json("GET", "/controller", timeout_s=STATE_S)

    def controller_log(self) -> str:
        return self._text("/controller/log")

    def kill_controller(self, signal: str = "KILL") -> None:
        self._call("POST", "/controller/kill", {"signal": signal}).close()

    def start_controller(self) -> dict[str, Any]:
        return self._json("POST", "/controller/start", {})

    def stop_controller(self) -> None:
        self._call("DELETE", "/controller").close()

    def pool(self, service: str, server: str, action: str, *, ip: str, weight: int | None = None) -> dict[str, Any]:
        """Change a pool at run time: add (needs ip), remove, drain, enable, weight (needs weight)."""
        body = {"ip": ip if action == "add" else None, "weight": weight}
        given = {key: value for key, value in body.items() if value is not None}
        return self._json("POST", f"/controller/pool/{_part(service)}/{_part(server)}/{action}", given)

    def pools(self) -> dict[str, Any]:
        """{"services": {name: {"ip", "port", "policy", "servers": {name: …}}}}."""
        return self._json("GET", "/controller/pool", timeout_s=STATE_S)

    def metrics(self) -> str:
        return self._text("/controller/metrics")

    def restart_switches(self) -> None:
        """Open vSwitch is killed and started again; answers when it is back, not when it is connected."""
        self._call("POST", "/switch/restart", {}).close()

    def server(self, host: str, action: str) -> None:
        """Stop or start the web servers of `host`."""
        self._call("POST", "/server", {"host": host, "action": action}).close()

    def flood(self, flood: wire.Flood) -> dict[str, Any]:
        """Send a flood to its end. Gives {"sent", "seconds"}."""
        return self._json("POST", "/flood", wire.encode(flood), timeout_s=flood.seconds + ANSWER_S)

    def load(self, load: wire.Load) -> Generator[wire.Request | LoadEnd, None, None]:
        """Run a round of requests: each as it ends, LoadEnd at last. Closing the iterator stops the load."""
        longest = load.timeout_s + (1 / load.rate if load.rate else 0)  # silence between two lines
        with self._call("POST", "/load", wire.encode(load), timeout_s=longest + ANSWER_S) as answer:
            for line in self._lines(answer):
                if line:
                    yield self._record(line)
                    if b'"done"' in line:
                        return
        raise LabError("the agent broke the load off before its end; its log may say why")

    def link(self, state: str, *, host: str | None = None, between: tuple[str, str] | None = None) -> None:
        which: dict[str, Any] = {"host": host} if host else {"between": list(between or ())}
        self._call("POST", "/link", {**which, "state": state}).close()

    def pingall(self) -> wire.Pings:
        return wire.decode(wire.Pings, self._json("POST", "/pingall", {}, timeout_s=600))

    def exec(self, host: str, argv: list[str], timeout_s: float = 60.0) -> dict[str, Any]:
        """Run a command on a host: {"exit_code", "stdout", "stderr"}."""
        body = {"host": host, "argv": argv, "timeout_s": timeout_s}
        return self._json("POST", "/exec", body, timeout_s=timeout_s + STATE_S)

    def bench_start(self, start: wire_bench.Start) -> dict[str, Any]:
        """Make the lab what it is measured as. Gives {"configuration": {file: text}, "ports"}."""
        return self._json("POST", "/bench/start", wire.encode(start))

    def bench_usage(self) -> dict[str, float]:
        """Program → CPU seconds since its start: ovs-vswitchd, and a peer's."""
        return self._json("GET", "/bench/usage", timeout_s=STATE_S)

    def bench_connections(self, connections: wire_bench.Connections) -> dict[str, Any]:
        """Gives {"made", "failed"}."""
        return self._json("POST", "/bench/connections", wire.encode(connections))

    def bench_load(self, load: wire_bench.Load) -> wire_bench.Figures:
        answer = self._json("POST", "/bench/load", wire.encode(load), timeout_s=load.seconds + load.settle_s + ANSWER_S)
        from lab import wire_bench  # for few: a scenario's run measures nothing by it

        return wire.decode(wire_bench.Figures, answer)

    def bench_bulk(self, bulk: wire_bench.Bulk) -> dict[str, Any]:
        """Gives {"bits_per_s", "retransmits"}."""
        return self._json("POST", "/bench/bulk", wire.encode(bulk), timeout_s=bulk.seconds + ANSWER_S)

    def hits(self) -> dict[str, list[wire.Hit]]:
        """Each server's own log."""
        logs = self._json("GET", "/hits")
        try:
            return {host: [wire.Hit(**hit) for hit in hits] for host, hits in logs.items()}
        except TypeError:
            raise LabError("the agent sent a server's log that this kit can't read") from None

    def clear_hits(self) -> None:
        self._call("DELETE", "/hits").close()

    def flows(self) -> str:
        return self._text("/flows")

    def log(self) -> str:
        return self._text("/log")

    def _text(self, path: str) -> str:
        with self._call("GET", path, timeout_s=STATE_S) as answer:
            try:
                return answer.text
            except CallError:
                raise LabError(f"the connection to the agent was lost in its answer to GET {path}") from None

    def _json(self, method: str, path: str, body: Any = None, *, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        with self._call(method, path, body, timeout_s=timeout_s) as answer:
            try:
                data = answer.json()
            except CallError:
                data = None
        if not isinstance(data, dict):
            raise LabError(f"the agent answered {method} {path} with something that is no JSON object")
        return data

    def _call(self, method: str, path: str, body: Any = None, *, timeout_s: float = ANSWER_S) -> Answer:
        """The answer of a call that went well; LabError for any other."""
        timeout_s = min(timeout_s, self._longest_s)
        try:
            answer = call(self._address, method, path, self._headers, body, connect_s=CONNECT_S, timeout_s=timeout_s)
        except Silent:
            raise LabError(f"the agent gave no answer to {method} {path} within {timeout_s:g} s") from None
        except CallError:
            raise LabError(f"the agent can't be reached any more: {method} {path} got no answer") from None
        if answer.status >= 400:
            with answer:
                kind = Refused if answer.status < 500 else LabError
                raise kind(_refusal(method, path, answer))
        return answer

    @staticmethod
    def _lines(answer: Answer) -> Iterator[bytes]:
        try:
            yield from answer.lines()
        except CallError:
            raise LabError("the connection to the agent was lost while the load ran") from None

    @staticmethod
    def _record(line: bytes) -> wire.Request | LoadEnd:
        try:
            data = json.loads(line)
            if "done" in data:
                return LoadEnd(sent=int(data.get("sent", 0)), dropped=int(data.get("dropped", 0)))
            return wire.Request(**data)  # not `decode`: some 40 µs a line, and agent and driver are one version
        except (ValueError, TypeError):
            raise LabError(f"the agent sent a line that is no request: {line[:80]!r}") from None


def _part(name: str) -> str:
    """A name as one part of a path, whatever is in it."""
    return urllib.parse.quote(name, safe="")


def _refusal(method: str, path: str, answer: Answer) -> str:
    """The agent's own sentence, where there is one."""
    said = None
    with contextlib.suppress(CallError):
        data = answer.json()
        said = data.get("error") if isinstance(data, dict) else None
    if said:
        return str(said)
    return f"the agent answered {method} {path} with HTTP status {answer.status}"
