"""The proactive mode's own promises: no packet-in, shares by hash, and what becomes of connections at changes."""

from __future__ import annotations

from collections import Counter

import pytest
from helpers.frames import RST
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.balancer import ServerSettings
from lab.balancer.modes import MODES, check_policy
from lab.balancer.policies.connection_hash import PLACES
from lab.balancer.rules import Cookie, SetGroup, Table, ToGroup

SERVERS = ("h1", "h2", "h3")
CLIENTS = ("h4", "h5", "h6")


@pytest.fixture(params=["command", "1.0", "1.5"])
def make_rig(request: pytest.FixtureRequest) -> MakeRig:
    """Three servers, chosen by a hash of the connection."""
    service = Service(servers=SERVERS, policy="connection_hash")
    return lambda **wishes: Rig(**{"speaks": request.param, "mode": "proactive", "services": [service], **wishes})


@pytest.fixture(params=[True, False], ids=["stateful", "stateless"])
def any_rig(request: pytest.FixtureRequest, make_rig: MakeRig) -> Rig:
    return make_rig(stateful=request.param)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig()


@pytest.fixture
def stateless(make_rig: MakeRig) -> Rig:
    return make_rig(stateful=False)


def serve(rig: Rig, count: int, first: int = 40_000) -> dict[tuple[str, int], str]:
    """Who serves that many connections of each client, looked at from both ends."""
    ports = range(first, first + count)
    return {(client, port): rig.connect(client, port) for port in ports for client in CLIENTS}


def kept(rig: Rig, servers: dict[tuple[str, int], str]) -> set[tuple[str, int]]:
    """Those of the connections that still are where they were, both ways."""
    still = set()
    for (client, port), server in servers.items():
        call = rig.data(client, port)
        if call.server == server:
            rig.answer(client, call)
            still.add((client, port))
    return still


def test_connections_cost_no_packet_in_and_no_flow_mod(any_rig: Rig) -> None:
    serve(any_rig, 1)  # the hosts are known from now on
    packet_ins, flow_mods = any_rig.packet_ins, any_rig.switch.flow_mods
    serve(any_rig, 20, first=50_000)
    assert (any_rig.packet_ins, any_rig.switch.flow_mods) == (packet_ins, flow_mods)
    counters = any_rig.balancer.counters
    assert (counters.packet_ins, counters.flow_mods) == (0, 0)


def test_every_server_gets_its_share_of_the_places(make_rig: MakeRig) -> None:
    service = Service(servers=SERVERS, policy="connection_hash", weights=(1, 2, 5))
    rig = make_rig(services=[service])
    places = Counter(repr(bucket) for bucket in rig.switch.groups[1].buckets)
    assert sum(places.values()) == PLACES
    assert sorted(places.values()) == pytest.approx([PLACES / 8, PLACES / 4, PLACES * 5 / 8], abs=1)


def test_source_hash_keeps_a_client_with_its_server(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(servers=SERVERS, policy="source_hash")])
    served = serve(rig, 10)
    assert all(len({served[client, port] for port in range(40_000, 40_010)}) == 1 for client in CLIENTS)


@pytest.mark.parametrize("change", ["drain", "remove_link", "weight", "add"])
def test_no_open_connection_moves_when_the_pool_changes(rig: Rig, change: str) -> None:
    before = serve(rig, 20)
    gone = _change(rig, change)
    alive = {connection: server for connection, server in before.items() if server != gone}
    assert kept(rig, alive) == set(alive)
    after = serve(rig, 20, first=50_000)
    assert set(after.values()) == {"drain": {"h1", "h3"}, "remove_link": {"h1", "h3"}}.get(change, set(after.values()))
    if change == "weight":
        assert Counter(after.values())["h2"] > Counter(before.values())["h2"]


def _change(rig: Rig, change: str) -> str | None:
    """Carry it out; the server whose connections it ends."""
    if change == "drain":
        rig.obey(rig.balancer.pool.drain("service0", "h2"))
    elif change == "remove_link":
        rig.link_down("h2")
    elif change == "weight":
        rig.obey(rig.balancer.pool.set_weight("service0", "h2", 9))
    else:
        rig.obey(rig.balancer.pool.add("service0", ServerSettings(name="h6", ip="10.0.0.6")))
    rig.advance(0.1)
    return "h2" if change == "remove_link" else None


def test_an_added_server_gets_its_share(any_rig: Rig) -> None:
    any_rig.obey(any_rig.balancer.pool.add("service0", ServerSettings(name="h6", ip="10.0.0.6")))
    any_rig.advance(0.1)
    served = Counter(any_rig.connect("h4", port) for port in range(40_000, 40_080))
    assert set(served) == {*SERVERS, "h6"}
    assert min(served.values()) >= 8


def test_stateless_moves_only_connections_whose_place_moved(stateless: Rig) -> None:
    before = serve(stateless, 20)
    stateless.link_down("h2")
    stateless.advance(0.1)
    alive = {connection: server for connection, server in before.items() if server != "h2"}
    assert len(kept(stateless, alive)) >= 0.8 * len(alive)
    assert set(serve(stateless, 10, first=50_000).values()) == {"h1", "h3"}


def test_a_draining_server_is_drained_when_its_connections_have_ended(rig: Rig) -> None:
    before = serve(rig, 10)
    mine = [connection for connection, server in before.items() if server == "h2"]
    assert mine
    rig.obey(rig.balancer.pool.drain("service0", "h2"))
    for _ in range(3):
        rig.advance(5)
        assert kept(rig, dict.fromkeys(mine, "h2")) == set(mine)
        assert rig.member("h2").admin.value == "draining"
    rig.advance(rig.idle_timeout + 1)
    assert rig.member("h2").admin.value == "maint"


def test_a_udp_flow_that_nobody_answers_keeps_its_server_from_being_drained(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=53, protocol="udp", servers=SERVERS, policy="connection_hash")])
    server = rig.datagram("h4", 40_000).server
    assert server is not None
    rig.obey(rig.balancer.pool.drain("service0", server))
    for _ in range(6):
        rig.advance(rig.idle_timeout / 2)
        assert rig.datagram("h4", 40_000).server == server
        assert rig.member(server).admin.value == "draining"
    rig.advance(rig.idle_timeout + 1)
    assert rig.member(server).admin.value == "maint"


def test_flows_of_a_dead_server_alone_move(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=53, protocol="udp", servers=SERVERS, policy="connection_hash")])
    served = {n: rig.ask("h4", 40_000 + n) for n in range(20)}
    rig.link_down("h2")
    for n, server in served.items():
        assert rig.ask("h4", 40_000 + n) == server or server == "h2"


def test_syn_is_reset_while_no_server_is_up_and_served_as_soon_as_one_is(any_rig: Rig) -> None:
    for server in SERVERS:
        any_rig.link_down(server)
    assert any_rig.syn("h4", 40_000).reset
    assert any_rig.has_drops() == {"no_server": 1}
    any_rig.link_up("h3")
    any_rig.advance(0.1)
    assert any_rig.connect("h4", 40_001) == "h3"


def test_syn_that_comes_before_the_first_probes_answer_is_served(make_rig: MakeRig) -> None:
    for stateful in (True, False):
        rig = make_rig(started=False, stateful=stateful)
        for server in SERVERS:
            rig.hosts[server].mute = True
        rig.connect_switch()
        assert rig.syn("h4").server is None
        for server in SERVERS:
            rig.hosts[server].mute = False
        before = len(rig.delivered)
        rig.advance(2.5)
        got = [d.host for d in rig.delivered[before:] if d.taken and d.fields.get("tcp_src") == 40_000]
        assert len(got) == 1
        assert got[0] in SERVERS


def test_data_of_no_connection_is_reset(rig: Rig) -> None:
    assert rig.data("h4", 40_000).reset
    assert rig.has_drops() == {"no_connection": 1}


def test_a_server_may_call_the_service_and_be_chosen_itself(any_rig: Rig) -> None:
    served = [any_rig.connect("h1", port) for port in range(40_000, 40_030)]
    assert set(served) == set(SERVERS)


def test_a_servers_own_address_can_be_called(any_rig: Rig) -> None:
    serve(any_rig, 3)
    assert any_rig.direct("h4", "h1", port=55_555)


def test_connections_of_a_dead_server_are_reset(rig: Rig) -> None:
    before = serve(rig, 10)
    rig.link_down("h2")
    rig.advance(0.1)
    mine = [connection for connection, server in before.items() if server == "h2"]
    assert mine
    for client, port in mine:
        assert rig.data(client, port).reset


def test_connections_go_on_when_the_controller_is_started_again(rig: Rig) -> None:
    before = serve(rig, 10)
    groups = dict(rig.switch.groups)
    rig.restart_controller(connect=False)
    assert kept(rig, before) == set(before)
    rig.connect_switch()
    rig.advance(0.1)
    assert kept(rig, before) == set(before)
    assert rig.switch.groups == groups
    serve(rig, 10, first=50_000)


def test_groups_of_another_configuration_are_gone_after_a_start(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(policy="connection_hash"), Service(ip="10.0.1.2", policy="source_hash", port=81)])
    assert sorted(rig.switch.groups) == [1, 2]
    rig.services = [Service(servers=SERVERS, policy="connection_hash")]
    rig.restart_controller()
    rig.advance(0.1)
    assert sorted(rig.switch.groups) == [1]
    serve(rig, 10)


def test_switch_that_lost_all_balances_as_soon_as_it_is_back(any_rig: Rig) -> None:
    serve(any_rig, 5)
    any_rig.connect_switch(wiped=True)
    any_rig.advance(0.1)
    assert set(serve(any_rig, 10, first=50_000).values()) == set(SERVERS)


def test_who_got_how_many_is_not_claimed_to_be_known(any_rig: Rig) -> None:
    serve(any_rig, 5)
    told = any_rig.balancer.pool.describe()["services"]["service0"]["servers"]["h1"]
    assert (told["hits"], told["live"]) == (None, None)


def test_cached_flows_of_new_connections_carry_no_port_of_a_client(rig: Rig) -> None:
    for rule in rig.switch.rules(Table.CLIENT_TRACKED):
        assert "tcp_src" not in {name for name, _, _ in rule.match}


def test_a_change_sends_the_group_alone(rig: Rig) -> None:
    before = len(rig.commands)
    rig.obey(rig.balancer.pool.set_weight("service0", "h2", 3))
    rig.advance(0.05)
    sent = [command for command in rig.commands[before:] if not hasattr(command, "text")]
    assert [type(command) for command in sent if not hasattr(command, "data")] == [SetGroup]
    rig.advance(1)
    assert sum(isinstance(command, SetGroup) for command in rig.commands[before:]) == 1


def test_rule_that_leads_to_the_group_is_the_controllers_while_no_server_is_up(any_rig: Rig) -> None:
    def leading() -> int:
        return sum(isinstance(action, ToGroup) for rule in any_rig.switch.rules() for action in rule.actions)

    assert leading() == 1
    for server in SERVERS:
        any_rig.link_down(server)
    any_rig.advance(0.1)
    assert leading() == 0
    assert any_rig.switch.of_kind(Cookie.CONNECTION) == []


def test_a_rst_of_no_connection_is_never_answered(any_rig: Rig) -> None:
    for server in SERVERS:
        any_rig.link_down(server)
    assert not any_rig.call("h4", 40_000, RST).reset


@pytest.mark.parametrize(
    ("mode", "policy"),
    [("proactive", "round_robin"), ("proactive", "least_connections"), ("tracked", "connection_hash")],
)
def test_a_policy_that_the_mode_cannot_keep_is_refused_with_the_modes_that_can(mode: str, policy: str) -> None:
    able = [name for name, keeps in MODES.items() if policy in keeps]
    with pytest.raises(ValueError, match=f"mode {mode} can't keep policy {policy}; {' and '.join(able)} can"):
        check_policy(mode, policy)


def test_proactive_asks_no_plug_in() -> None:
    with pytest.raises(ValueError, match="reactive and tracked can"):
        check_policy("proactive", "mine.py:Mine", plugin=True)


def test_flows_of_a_dead_server_go_on_with_another_each_time_it_dies(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=53, protocol="udp", servers=SERVERS, policy="connection_hash")])
    for _ in range(2):
        assert "h2" in {rig.ask("h4", 40000 + n) for n in range(12)}
        rig.link_down("h2")
        assert {rig.ask("h4", 40000 + n) for n in range(12)} == {"h1", "h3"}
        rig.link_up("h2")
        rig.advance(2)
        rig.switch.tracker.flush()  # as if all had been silent for long
