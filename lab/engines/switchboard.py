"""All that the engines share: which switch balances, which ones learn, and what is counted.

An adapter tells it of connections, packet-ins and the like and gives it a way to send bytes; it keeps a brain per
switch (the balancer for the chosen one, a learning switch for every other) and encodes what the brains answer.
Rule: adapters call, the switchboard decides which brain, the brain decides the rest. Calls may come from more than one
thread (the control socket's), so each holds the lock.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol

from lab import wire
from lab.balancer.assignment import Assignment
from lab.balancer.learning import LearningSwitch
from lab.balancer.pool import Member, Service
from lab.balancer.rules import AddRule, Command, DeleteRules, Note, Senders
from lab.engines import configuration, openflow, switch_errors
from lab.engines.pool_control import PoolControl

TICK_S: Final = 0.05  # how often adapters call `tick`; probes are due to this precision
OWN_PORTS: Final = range(32_768, 61_000)  # from which Linux connects by itself (net.ipv4.ip_local_port_range)
TOGETHER: Final = 16  # messages that are sent as one piece; more would keep the first ones waiting

log = logging.getLogger("balancer")


class Brain(Protocol):
    """What decides for one switch: the balancer or a learning switch."""

    def switch_up(self, now: float) -> list[Command]: ...
    def packet_in(self, in_port: int, data: bytes, learn: bool, now: float) -> list[Command]: ...
    def flow_removed(self, cookie: int, deleted: bool, now: float) -> list[Command]: ...
    def port_changed(self, port: int, up: bool, now: float) -> list[Command]: ...
    def rules_found(self, cookies: Sequence[int], senders: Senders, now: float) -> list[Command]: ...
    def tick(self, now: float) -> list[Command]: ...


@dataclass(slots=True)
class _Connection:
    """One switch's connection; `handle` is the adapter's own object, its identity."""

    handle: object
    version: int
    send: Callable[[bytes], Any]
    brain: Brain
    unsent: list[bytes] = field(default_factory=list)  # messages kept until there is nothing more to answer


class Switchboard:
    def __init__(self, config: wire.Controller) -> None:
        """Raises ValueError, one sentence, for a configuration that can't work."""
        self._balancer = configuration.build(config)
        self._balancing_dpid = config.dpid
        self._learners: dict[int, LearningSwitch] = {}
        self._connections: dict[int, _Connection] = {}
        self._packet_ins = 0
        self._flow_mods = 0
        self._refused = 0  # switches whose number another one has
        self._errors = switch_errors.SwitchErrors(log)
        self._lock = threading.RLock()
        self._log_start(config)

    def connected(self, dpid: int, version: int, handle: object, send: Callable[[bytes], Any]) -> bool:
        """A switch has connected, or connected again. `handle` tells its later calls from an older connection's.

        False: another switch of this number is connected, which goes on; the adapter is to close the newcomer."""
        with self._lock:
            if dpid in self._connections:
                self._refused += 1
                log.warning("a second switch says that it is switch %d: refused; give each a dpid of its own", dpid)
                return False
            brain = self._brain(dpid)
            connection = self._connections[dpid] = _Connection(handle, version, send, brain)
            if greeting := openflow.greeting(version):
                send(greeting)
            self._do(connection, brain.switch_up(monotonic()))
        role = "balances" if brain is self._balancer else "learns"
        log.info("switch %d is connected and %s", dpid, role)
        return True

    def gone(self, dpid: int, handle: object) -> None:
        """A connection has ended; a late word of one that was replaced changes nothing."""
        with self._lock:
            connection = self._connections.get(dpid)
            if connection is not None and connection.handle is handle:
                del self._connections[dpid]
                log.warning("switch %d is gone", dpid)

    def packet_in(self, dpid: int, in_port: int, reason: int, data: bytes, more: bool = False) -> None:
        """`more`: another call for this switch follows at once, so the answer may wait for that one's."""
        with self._lock:
            self._packet_ins += 1
            connection = self._connections.get(dpid)
            if connection is not None:
                learn = reason == openflow.REASON_NO_MATCH
                self._do(connection, connection.brain.packet_in(in_port, data, learn, monotonic()), more)

    def flow_removed(self, dpid: int, cookie: int, reason: int, more: bool = False) -> None:
        with self._lock:
            connection = self._connections.get(dpid)
            if connection is None:
                return
            commands: Sequence[Command] = ()
            if reason in (openflow.FLOW_REMOVED_IDLE, openflow.FLOW_REMOVED_DELETED):
                deleted = reason == openflow.FLOW_REMOVED_DELETED
                commands = connection.brain.flow_removed(cookie, deleted, monotonic())
            self._do(connection, commands, more)

    def port_changed(self, dpid: int, port: int, up: bool) -> None:
        with self._lock:
            if connection := self._connections.get(dpid):
                self._do(connection, connection.brain.port_changed(port, up, monotonic()))

    def rules_found(self, dpid: int, cookies: Sequence[int], senders: Senders | None = None) -> None:
        """The whole answer to AskRules."""
        with self._lock:
            if connection := self._connections.get(dpid):
                self._do(connection, connection.brain.rules_found(cookies, senders or {}, monotonic()))

    def switch_error(self, dpid: int, kind: int, code: int | None, data: bytes = b"") -> None:
        """The switch would not do something; OpenFlow's numbers of the error's type and code, and what follows them."""
        with self._lock:
            if connection := self._connections.get(dpid):
                self._errors.add(dpid, switch_errors.name(connection.version, kind, code, data), monotonic())

    def tick(self) -> None:
        with self._lock:
            for connection in list(self._connections.values()):
                self._do(connection, connection.brain.tick(monotonic()))

    def statistics(self) -> dict[str, Any]:
        """A snapshot, as the control API gives it."""
        with self._lock:
            return {
                "balancing_dpid": self._balancing_dpid,
                "switches": sorted(self._connections),
                "services": {a.service.name: self._service(a) for a in self._balancer.assignments},
                "packet_ins": self._balancer.counters.packet_ins,
                "flow_mods": self._balancer.counters.flow_mods,
                "refused_switches": self._refused,
                "packet_ins_total": self._packet_ins,
                "flow_mods_total": self._flow_mods,
                "drops": self._balancer.drops(),
                "switch_errors": dict(self._errors.counts),
                "connections": self._connection_table(),
            }

    def _connection_table(self) -> dict[str, int | None]:
        known = all(service.live_known for service in self._balancer.services)
        table = self._balancer.connections.statistics()
        return {**table, "live": table["live"] if known else None}

    def operations(self) -> dict[str, Callable[..., Any]]:
        """What the control socket offers."""
        return {"statistics": self.statistics, **PoolControl(self._balancer.pool, self._carry_out).operations()}

    def _carry_out(self, change: Callable[[], list[Command]]) -> None:
        """Change the pool, and the balancing switch too if it is connected; else it is told when it connects."""
        with self._lock:
            commands = change()
            connection = self._connections.get(self._balancing_dpid or 0)
            if connection is not None:
                self._do(connection, [*commands, *self._balancer.tick(monotonic())])  # what follows, before the answer
                return
            for note in commands:
                if isinstance(note, Note):
                    _log_note(note)

    def _service(self, assignment: Assignment) -> dict[str, Any]:
        service = assignment.service
        servers = {member.name: self._server(service, member) for member in service.members}
        return {"policy": service.policy, "servers": servers, "policy_failures": assignment.failures()}

    def _server(self, service: Service, member: Member) -> dict[str, Any]:
        return {
            "state": member.health.state.value,
            "hits": service.hits_of(member),
            "admin": member.admin.value,
            "available": member.available,
            "live": service.connections_of(member),
            "weight": member.weight,
            **self._balancer.checks.statistics(member, monotonic()),
        }

    def _brain(self, dpid: int) -> Brain:
        if self._balancing_dpid is None:
            self._balancing_dpid = dpid
            log.warning("no dpid was given, so switch %d, the first to connect, balances", dpid)
        if dpid == self._balancing_dpid:
            return self._balancer
        return self._learners.setdefault(dpid, LearningSwitch())

    def _do(self, connection: _Connection, commands: Sequence[Command], more: bool = False) -> None:
        """Log the notes, send the rest as one piece: several writes would wait for each other's acknowledgement, and
        cost the controller as much as all else that it does for a connection. `more`: see `packet_in`."""
        unsent = connection.unsent
        for command in commands:
            if isinstance(command, Note):
                _log_note(command)
                continue
            if isinstance(command, (AddRule, DeleteRules)):
                self._flow_mods += 1
            unsent.append(openflow.encode(command, connection.version))
        if unsent and (not more or len(unsent) >= TOGETHER):
            connection.unsent = []
            connection.send(b"".join(unsent))

    def _log_start(self, config: wire.Controller) -> None:
        # where answers are known by address and port alone
        by_port = config.mode == "reactive" or (config.mode == "proactive" and not config.stateful)
        for service in config.services:
            servers = ", ".join(f"{server.name} ({server.ip})" for server in service.servers)
            what = f"{service.said} by {service.policy} to {servers}"
            log.info("%s: %s, mode %s", service.name, what, config.mode)
            if by_port and service.port < OWN_PORTS.stop and (service.last_port or service.port) >= OWN_PORTS.start:
                text = "a connection that one of its servers makes from such a port looks like an answer: choose ports"
                log.warning("%s: %s below %d, or reserve them on the servers", service.name, text, OWN_PORTS.start)


def _log_note(note: Note) -> None:
    log.log(logging.WARNING if note.warning else logging.INFO, "%s", note.text)
