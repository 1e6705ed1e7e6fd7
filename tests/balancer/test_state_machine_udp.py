"""The same world as in `test_state_machine`, with clients that ask a UDP service and, from the same ports, its servers
directly. Beside what holds there:

    a flow keeps its server while that is alive and a client speaks before the idle time-out
    when its server is gone, its next datagram goes to another one
    a datagram's answer, and one that comes later, bears the address that was asked
"""

from __future__ import annotations

from helpers.lab_books import Call
from helpers.lab_world import ANY_PORT, ANY_SERVER, BOUND, CLIENT_NAMES, CLIENTS, MODE, ON_DOWN, POLICY, ROOMY, World
from helpers.model_switch import VERSIONS
from helpers.rig import Outcome
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from lab.balancer.health import CheckKind
from lab.balancer.modes.tracked import LOST_S, RESUME_S

PORT = 80
LONGEST_STEP_S = 5.0  # in which what happened may have happened
DIRECT_PORTS = st.sampled_from(range(41000, 41002))


class Flows(World):
    """Clients of a UDP service."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[tuple[str, int], Outcome] = {}  # the last datagram of each flow, as its server got it
        self.turning: set[tuple[str, int]] = set()  # ports that have asked a server directly since

    @initialize(
        mode=MODE,
        speaks=st.sampled_from(sorted(VERSIONS)),
        bound=BOUND,
        policy=POLICY,
        six=st.booleans(),
        on_down=ON_DOWN,
    )
    def start(self, mode: str, speaks: str, bound: int, policy: str, six: bool, on_down: str) -> None:
        kind = CheckKind.ARP
        self.build(
            mode=mode, speaks=speaks, bound=bound, kind=kind, policy=policy, six=six, on_down=on_down, protocol="udp"
        )

    @rule(client=CLIENTS, port=ANY_PORT)
    def asks(self, client: str, port: int) -> None:
        if not self.can_send(client):
            return
        call, before, may = self.calls.get((client, port)), self.hits(), self.expected()
        stays, goes_on = self.stays(client, port), call is not None and self.is_up(call)
        sent_at = self.rig.now
        outcome = self.rig.datagram(client, port, held=(client, port) in self.turning)
        self.turning.discard((client, port))
        server = self.chosen(before, may)
        if server is not None:
            assert not stays, "it has got another server"
            call = Call(server, self.numbers[server], 0, self.bound == ROOMY)
        elif not stays and outcome.server is None and not (goes_on and not self.alive(call.server)):
            assert not may, "it was left out"
            self.calls.pop((client, port), None)
            return
        else:
            assert goes_on, "it has come to a server that is gone"
        assert call is not None
        self.calls[client, port] = call
        call.used = sent_at
        self.answered(client, port, outcome)

    def answered(self, client: str, port: int, outcome: Outcome) -> None:
        """Its datagram has come to its server, which answers."""
        self.reached(client, outcome, self.calls[client, port].server)
        if outcome.server is not None:
            self.asked[client, port] = outcome
            self.rig.reply(client, outcome)

    def stays(self, client: str, port: int) -> bool:
        """Whether a flow's next datagram must reach the server that it has."""
        call = self.calls.get((client, port))
        if call is None or not self.is_up(call):
            return False
        if self.in_switch(client, port):
            return True
        assert call.gone is not None
        if self.mode == "tracked":  # it was emptied
            return call.remembered and self.rig.now < call.gone + LOST_S - LONGEST_STEP_S
        return call.remembered and call.gone < call.used + self.rig.idle_timeout  # its rule can't have idled out

    @rule(port=ANY_PORT)
    def all_ask(self, port: int) -> None:
        for client in CLIENT_NAMES:
            self.asks(client, port)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def asks_again(self, data: st.DataObject) -> None:
        self.asks(*data.draw(st.sampled_from(sorted(self.calls))))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def is_answered_later(self, data: st.DataObject) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.asked)))
        call, outcome = self.calls.get((client, port)), self.asked[client, port]
        if call is None or call.server != outcome.server or not self.stays(client, port):
            return
        if call.gone is not None and (self.mode == "reactive" or not self.resumes(client, call)):
            return  # in reactive mode: what the port has asked directly since is answered as it was asked
        if self.alive(call.server) and self.can_send(client):
            self.rig.reply(client, outcome)

    def resumes(self, client: str, call: Call) -> bool:
        """Whether the emptied tracker takes a flow up from its server's side: for a while, unless it is a server's to
        itself."""
        assert call.gone is not None
        return client != call.server and self.rig.now <= call.gone + RESUME_S - LONGEST_STEP_S

    @rule(client=CLIENTS, server=ANY_SERVER, port=DIRECT_PORTS)
    def asks_a_server_directly(self, client: str, server: str, port: int) -> None:
        if client != server and self.can_send(client) and self.alive(server) and not self.rig.switch.full:
            assert self.rig.ask_directly(client, server, port, PORT, self.version)

    @precondition(lambda self: self.calls and self.mode == "reactive")  # to a tracker both would be one flow
    @rule(data=st.data(), other=st.none() | ANY_SERVER)
    def asks_a_server_directly_from_a_flows_port(self, data: st.DataObject, other: str | None) -> None:
        client, port = data.draw(st.sampled_from(sorted(self.calls)))
        self.turning.add((client, port))
        self.asks_a_server_directly(client, other or self.calls[client, port].server, port)

    def goes_on(self, client: str, port: int) -> None:
        self.calls[client, port].used = self.rig.now
        self.answered(client, port, self.rig.datagram(client, port))

    @invariant()
    def books_tell_since_when_the_switch_has_lost_a_flow(self) -> None:
        for key, call in self.calls.items():
            if self.in_switch(*key):
                call.gone = None
            elif call.gone is None:
                call.gone = self.rig.now


TestFlows = Flows.TestCase
TestFlows.settings = settings(stateful_step_count=30)
