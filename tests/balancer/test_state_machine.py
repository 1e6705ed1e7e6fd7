"""The whole core under any order of events, in both modes: clients that open, speak, repeat, close and abort, in a
world where anything may happen to servers, switch and controller (`helpers.lab_world`). After each step this holds:

    a connection keeps its server while that is alive, and no packet of it ever reaches another one
    when its server is gone it is reset, or handed to another one where that is asked for
    no server that is dead, drained or removed gets a new connection
    a client hears of the service's address alone
    the table stays within its bound, and live connections are counted right
    round robin is exact

Rule: what must be is told by `helpers.lab_books`, not by asking the balancer. Long runs: tools/long_properties.py.
"""

from __future__ import annotations

from helpers.frames import ACK, FIN, RST, SYN
from helpers.lab_books import Call
from helpers.lab_world import (
    ANY_PORT,
    ANY_SERVER,
    BOUND,
    CLIENT_NAMES,
    CLIENTS,
    MODE,
    ON_DOWN,
    POLICY,
    PORTS,
    ROOMY,
    World,
)
from helpers.model_switch import VERSIONS
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from lab.balancer.health import CheckKind

ANY_DIRECT_PORT = st.sampled_from(range(41000, 41002))


class Lab(World):
    """Clients of a TCP service."""

    def __init__(self) -> None:
        super().__init__()
        self.next_seq = 1
        self.heard = 0  # deliveries that have been looked at

    @initialize(
        mode=MODE,
        speaks=st.sampled_from(sorted(VERSIONS)),
        bound=BOUND,
        kind=st.sampled_from(CheckKind),
        policy=POLICY,
        six=st.booleans(),
        on_down=ON_DOWN,
    )
    def start(self, mode: str, speaks: str, bound: int, kind: CheckKind, policy: str, six: bool, on_down: str) -> None:
        self.build(
            mode=mode, speaks=speaks, bound=bound, kind=kind, policy=policy, six=six, on_down=on_down, protocol="tcp"
        )

    @rule(client=CLIENTS, port=ANY_PORT)
    def opens(self, client: str, port: int) -> None:
        known = self.tracked(client, port)
        if not self.can_send(client) or (known is not None and not known.ended):
            return  # a tracker takes a SYN within a connection for a part of it
        may, before, self.next_seq = self.expected(), self.hits(), self.next_seq + 1
        outcome = self.rig.syn(client, port, self.next_seq)
        server = self.chosen(before, may)
        if server is None:
            assert not may
            assert outcome.reset
            return  # a former connection of this port goes on, if its server comes back
        self.calls[client, port] = Call(server, self.numbers[server], self.next_seq, self.bound == ROOMY)
        self.reached(client, outcome, server)
        if outcome.server is not None:
            self.rig.answer(client, outcome, SYN | ACK)

    @rule(port=ANY_PORT)
    def all_open(self, port: int) -> None:
        for client in CLIENT_NAMES:
            self.opens(client, port)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def repeats_its_syn(self, data: st.DataObject) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls[client, port]
        if not self.can_send(client) or call.server not in self.rig.up() or not self.is_sure(client, port):
            return
        before = self.hits()
        known = self.tracked(client, port)
        if (known is not None and not known.ended) or (call.remembered and call.seq):
            self.reached(client, self.rig.syn(client, port, call.seq), call.server)
            assert self.hits() == before

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), flags=st.sampled_from([ACK, ACK, FIN | ACK, RST | ACK]))
    def speaks(self, data: st.DataObject, flags: int) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        if self.can_send(client):
            self.say(client, port, flags)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def closes(self, data: st.DataObject) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        if self.can_send(client) and (outcome := self.say(client, port, FIN | ACK)).server is not None:
            self.rig.answer(client, outcome, FIN | ACK, data=b"")

    @rule(client=CLIENTS, flags=st.sampled_from([ACK, FIN | ACK]))
    def speaks_out_of_nowhere(self, client: str, flags: int) -> None:
        if self.can_send(client):
            assert self.rig.call(client, 49999, flags).reset

    @rule(client=CLIENTS, server=ANY_SERVER, port=ANY_DIRECT_PORT)
    def calls_a_server_directly(self, client: str, server: str, port: int) -> None:
        if client != server and self.can_send(client) and self.alive(server) and not self.rig.switch.full:
            assert self.rig.direct(client, server, port, version=self.version)

    def goes_on(self, client: str, port: int) -> None:
        self.reached(client, self.rig.call(client, port, ACK, 50), self.calls[client, port].server)

    @invariant()
    def clients_hear_of_the_service_alone(self) -> None:
        """And who is made to speak, speaks."""
        nudged = set()
        while self.ready() and self.heard < len(self.rig.delivered):
            delivery = self.rig.delivered[self.heard]
            self.heard += 1
            got = delivery.fields
            if not delivery.taken or got.get("tcp_dst") not in PORTS:
                continue
            service = self.rig.balancer.services[0]
            assert (got["eth_src"], got["src"], got["tcp_src"]) == (service.mac, service.ip, 80), delivery
            if (got["tcp_flags"], got["seq"], got["ack"]) == (ACK, 0, 0):
                nudged.add((delivery.host, got["tcp_dst"]))
        for client, port in sorted(nudged & self.calls.keys()):
            if self.can_send(client):
                self.say(client, port)


TestLab = Lab.TestCase
TestLab.settings = settings(stateful_step_count=30)
