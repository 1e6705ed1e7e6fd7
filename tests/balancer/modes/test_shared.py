"""What every mode promises: who gets a connection, who keeps it, and what becomes of the rest."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.modes import CONTROLLER_CHOOSES


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_handshake_goes_both_ways_in_the_names_each_end_expects(rig: Rig) -> None:
    assert rig.connect("h3") == "h1"
    assert rig.connect("h4") == "h2"


def test_connections_take_exact_turns(rig: Rig) -> None:
    servers = [rig.syn(f"h{3 + n % 4}", port=40000 + n).server for n in range(40)]
    assert servers == ["h1", "h2"] * 20


def test_all_packets_of_a_connection_keep_its_server(rig: Rig) -> None:
    server = rig.syn("h3", 40001).server
    for n in range(5):
        rig.connect("h4", 40000 + n)
        assert rig.data("h3", 40001).server == server
    assert rig.fin("h3", 40001).server == server
    assert rig.data("h3", 40001).server == server  # the last acknowledgement


def test_repeated_syn_keeps_its_server(rig: Rig) -> None:
    first = rig.syn("h3", 40001, seq=5)
    assert [rig.syn("h3", 40001, seq=5).server for _ in range(3)] == [first.server] * 3
    assert rig.syn("h4").server == "h2"  # nobody's turn was spent


def test_data_of_a_first_packet_is_not_cut(rig: Rig) -> None:
    assert rig.call("h3", 40001, SYN, seq=1, data=bytes(1400)).server == "h1"


def test_syn_is_reset_while_no_server_is_up(rig: Rig) -> None:
    rig.link_down("h1")
    rig.link_down("h2")
    outcome = rig.syn("h3", seq=0xFFFFFFFF)
    assert outcome.reset
    assert (outcome.fields["tcp_flags"], outcome.fields["ack"]) == (RST | ACK, 0)
    assert rig.has_drops() == {"no_server": 1}


@pytest.mark.parametrize("flags", [RST, RST | ACK, RST | SYN])
def test_a_rst_is_never_answered(rig: Rig, flags: int) -> None:
    rig.link_down("h1")
    rig.link_down("h2")
    outcome = rig.call("h3", 40001, flags)
    assert (outcome.server, outcome.reset) == (None, False)


def test_seeded_random_is_reproducible_and_gives_to_all(rig: Rig) -> None:
    def served(seed: int) -> list[str | None]:
        drawn = Rig(services=[Service(policy="random")], seed=seed, speaks=rig.speaks, mode=rig.mode)
        return [drawn.syn("h3", 40000 + n).server for n in range(60)]

    assert served(7) == served(7)
    assert served(7) != served(8)
    assert 15 < served(7).count("h1") < 45


def test_nothing_goes_to_a_server_whose_link_went_down(rig: Rig) -> None:
    rig.link_down("h2")
    assert [rig.connect("h3", 40000 + n) for n in range(6)] == ["h1"] * 6


def test_open_connections_of_a_dead_server_are_reset_and_begin_anew(rig: Rig) -> None:
    rig.connect("h4")
    assert rig.connect("h3", 40001) == "h2"
    rig.link_down("h2")
    assert rig.data("h3", 40001).reset
    assert rig.connect("h3", 40001, seq=2) == "h1"


def test_server_that_is_back_gets_its_share_again(rig: Rig) -> None:
    rig.link_down("h2")
    rig.connect("h3", 40000)
    rig.link_up("h2")
    assert [rig.connect("h3", 41000 + n) for n in range(4)] == ["h2", "h1", "h2", "h1"]


def test_connection_follows_a_server_to_another_port(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    rig.hosts["h1"].port = 7
    rig.ping("h1", "h4")  # any word from it will do, but its old port is asked first
    rig.advance(1.5)
    assert rig.data("h3", 40001).server == "h1"
    assert rig.connect("h4", 40002) == "h2"
    assert rig.connect("h5", 40003) == "h1"


def test_connection_follows_a_server_to_another_mac(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    rig.hosts["h1"].mac = frames.mac("02:00:0a:00:99:01")
    rig.advance(3.5)  # believed once the old one has been silent for two probes
    call = rig.data("h3", 40001)
    assert call.server == "h1"
    rig.answer("h3", call)
    assert rig.connect("h4") == "h2"
    assert rig.connect("h5") == "h1"


def test_least_connections_gives_a_busy_server_no_more_than_its_share(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(policy="least_connections")])
    assert [rig.connect("h3", 40000 + n) for n in range(4)] == ["h1", "h2", "h1", "h2"]
    for port in (40001, 40003):
        rig.close("h3", port)
    rig.advance(1.5)
    assert [rig.connect("h4", 40000 + n) for n in range(3)] == ["h2", "h2", "h1"]


def test_source_hash_keeps_a_client_at_its_server(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(servers=["h1", "h2", "h3"], policy="source_hash")])
    for client in ("h4", "h5", "h6"):
        assert len({rig.connect(client, 40000 + n) for n in range(4)}) == 1


def test_a_server_may_call_the_service_and_be_chosen_itself(rig: Rig) -> None:
    assert rig.connect("h1", 40001) == "h1"
    assert rig.connect("h1", 40002) == "h2"
    assert rig.connect("h2", 40003) == "h1"
    assert rig.connect("h2", 40004) == "h2"


def test_direct_call_is_not_rewritten(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    assert rig.direct("h3", "h1", 41001)
    assert rig.direct("h4", "h2", 41000)
    assert rig.connect("h3", 40001) == "h1"


def test_direct_call_between_servers_is_not_rewritten(rig: Rig) -> None:
    assert rig.direct("h1", "h2")
    assert rig.direct("h2", "h1")


def test_direct_calls_to_another_port_cost_the_controller_nothing(rig: Rig) -> None:
    assert rig.ping("h3", "h1")
    before = rig.packet_ins
    macs, ips = rig.between("h3", "h1")
    for n in range(5):
        assert rig.reaches("h1", frames.tcp(macs, ips, (42000 + n, 8080), SYN), "h3")
    assert rig.packet_ins == before


def test_direct_call_repeated_after_the_switch_lost_its_rules(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    rig.connect_switch(wiped=True)
    assert rig.direct("h3", "h1", 41000)


def test_connections_survive_a_reconnection_of_the_switch(rig: Rig) -> None:
    servers = [rig.connect("h3", 40000 + n) for n in range(4)]
    rules = rig.connection_rules()
    rig.connect_switch()
    assert rig.connection_rules() == rules
    assert [rig.data("h3", 40000 + n).server for n in range(4)] == servers


def test_connections_survive_a_switch_that_lost_its_rules(rig: Rig) -> None:
    servers = [rig.connect("h3", 40000 + n) for n in range(4)]
    rig.connect_switch(wiped=True)
    for n in range(4):
        call = rig.data("h3", 40000 + n)
        assert call.server == servers[n]
        rig.answer("h3", call)


def test_two_services_do_not_disturb_each_other(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(), Service("10.0.1.2", ["h5", "h6"]), Service(port=8080, servers=["h1", "h4"])])
    served = {s: [rig.connect("h3", 40000 + n, service=s) for n in range(4)] for s in range(3)}
    assert served == {0: ["h1", "h2"] * 2, 1: ["h5", "h6"] * 2, 2: ["h1", "h4"] * 2}
    rig.link_down("h1")
    assert rig.data("h3", 40000, service=1).server == "h5"
    assert rig.data("h3", 40001, service=2).server == "h4"
    assert rig.data("h3", 40000, service=0).reset
    assert [rig.connect("h4", 40000 + n, service=2) for n in range(2)] == ["h4", "h4"]
    assert rig.connect("h4", 40009, service=0) == "h2"


def test_service_of_one_address_has_several_ports(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=80, servers=["h1"]), Service(port=81, servers=["h2"])])
    assert rig.connect("h3", 40000, service=0) == "h1"
    assert rig.connect("h3", 40000, service=1) == "h2"
    assert rig.data("h3", 40000, service=0).server == "h1"


@pytest.mark.parametrize("flags", [ACK, FIN | ACK, ACK | frames.PSH])
def test_packet_of_no_known_connection_is_reset(rig: Rig, flags: int) -> None:
    outcome = rig.call("h3", 40001, flags, seq=10)
    assert outcome.reset
    assert (outcome.fields["tcp_flags"], outcome.fields["seq"]) == (RST, 777)
    assert rig.has_drops() == {"no_connection": 1}


@pytest.mark.parametrize("other", [SYN | 0x40 | 0x80, SYN | 0x40])
def test_syn_that_offers_congestion_notification_opens_a_connection(rig: Rig, other: int) -> None:
    assert rig.call("h3", 40001, other, seq=1).server == "h1"
    assert rig.call("h3", 40002, other, seq=1).server == "h2"


@pytest.mark.parametrize("abort", [True, False])
def test_port_used_again_after_an_end_is_a_new_connection(rig: Rig, abort: bool) -> None:
    served = []
    for n in range(6):
        served.append(rig.connect("h3", 40001, seq=1000 * n + 1))
        if abort:
            rig.rst("h3", 40001)
        else:
            rig.close("h3", 40001)
    assert served == ["h1", "h2"] * 3


def test_connection_keeps_its_server_over_a_long_pause(rig: Rig) -> None:
    servers = [rig.connect("h3", 40000 + n) for n in range(3)]
    rig.advance(rig.idle_timeout * 3, step=0.25)
    for n, server in enumerate(servers):
        call = rig.data("h3", 40000 + n)
        assert call.server == server
        rig.answer("h3", call)


def test_dead_servers_connections_never_reach_another(rig: Rig) -> None:
    assert rig.connect("h3", 40000) == "h1"
    rig.hosts["h1"].mute = True
    rig.advance(3)
    outcomes = [rig.data("h3", 40000) for _ in range(3)]
    assert [(o.server, o.reset) for o in outcomes] == [(None, True)] * 3
    assert rig.connect("h3", 40001) == "h2"


def test_server_that_is_a_client_loses_its_connections_to_a_dead_one_by_a_reset(rig: Rig) -> None:
    assert [rig.connect("h1", 40000), rig.connect("h1", 40001)] == ["h1", "h2"]
    rig.link_down("h2")
    assert rig.data("h1", 40001).reset
    assert rig.data("h1", 40000).server == "h1"


def test_server_of_two_services_answers_each_in_its_name_and_may_leave_one(make_rig: MakeRig) -> None:
    both = [Service(), Service("10.0.1.2", ["h2", "h1"], port=8080)]
    rig = make_rig(services=both)
    for client in ("h1", "h3"):  # one of them is a server, and is chosen for its own requests
        assert sorted(rig.connect(client, 40000 + n, service=0) for n in range(2)) == ["h1", "h2"]
        assert sorted(rig.connect(client, 41000 + n, service=1) for n in range(2)) == ["h1", "h2"]
    rig.obey(rig.balancer.pool.remove("service1", "h1"))
    for client in ("h1", "h3"):
        assert [rig.connect(client, 42000 + n, service=1) for n in range(2)] == ["h2", "h2"]
        assert sorted(rig.connect(client, 43000 + n, service=0) for n in range(2)) == ["h1", "h2"]


def test_while_an_empty_switch_gets_its_rules_no_client_hears_its_server_in_the_servers_own_name(rig: Rig) -> None:
    """It would answer by a RST, and end the connection."""
    call = rig.syn("h6", 40001)
    rig.answer("h6", call, SYN | ACK)
    assert call.server == "h1"
    server, client = rig.hosts["h1"], rig.hosts["h6"]
    data = frames.tcp((server.mac, client.mac), (server.ip, client.ip), (80, 40001), ACK, 9001, 2, b"more")
    rig.switch.messages.clear()
    rig.switch.reconnect(wiped=True)
    heard = len(rig.delivered)
    for command in rig.balancer.switch_up(rig.now):
        rig.switch.do(command)
        rig.send("h1", data)
        taken = [delivery.fields["src"] for delivery in rig.delivered[heard:] if delivery.taken]
        assert server.ip not in taken, command
