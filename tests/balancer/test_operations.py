"""The pool at run time: servers come, go, drain and return while connections go on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from helpers.rig import Rig, Service

from lab.balancer.balancer import ServerSettings
from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.operations import MAX_MEMBERS, Conflict, Operations, Unknown
from lab.balancer.policies import WEIGHTED
from lab.balancer.rules import AddRule, Cookie

WEB = "service0"


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pool(rig: Rig) -> Operations:
    return rig.balancer.pool


def add(rig: Rig, name: str, weight: int = 1, service: str = WEB) -> None:
    rig.obey(rig.balancer.pool.add(service, ServerSettings(name=name, ip=f"10.0.0.{name[1:]}", weight=weight)))


def servers(rig: Rig, ports: Sequence[int], service: int = 0) -> str:
    """Who serves new connections from these ports: a string of numbers."""
    return "".join(rig.connect("h6", port, service=service)[1:] for port in ports)


def said(rig: Rig) -> list[str]:
    return [note.text for note in rig.notes]


def named(rig: Rig) -> set[int]:
    """Every value that some rule matches."""
    return {value for rule in rig.switch.rules() for _, value, _ in rule.match}


def test_drained_server_gets_nothing_new_and_keeps_what_it_has(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.obey(pool.drain(WEB, "h2"))
    assert servers(rig, range(2000, 2004)) == "1111"
    assert rig.data("h6", 1001).server == "h2"
    rig.obey(pool.enable(WEB, "h2"))
    assert sorted(servers(rig, range(3000, 3004))) == list("1122")


def test_connection_of_a_draining_server_returns_after_its_rule_expired(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.obey(pool.drain(WEB, "h2"))
    rig.advance(rig.idle_timeout + 2)
    assert rig.data("h6", 1001).server == "h2"


def test_repeated_syn_of_a_draining_servers_connection_keeps_it(rig: Rig, pool: Operations) -> None:
    first = rig.syn("h6", 1000, seq=7).server
    rig.obey(pool.drain(WEB, first or ""))
    assert rig.syn("h6", 1000, seq=7).server == first
    assert rig.syn("h6", 1001, seq=8).server != first


def test_last_connections_end_is_told_once(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.obey(pool.drain(WEB, "h2"))
    left = {"reactive": ": 1 connection left", "tracked": ""}[rig.mode]
    assert said(rig)[-1] == f"service0: h2 (10.0.0.2) is draining{left}"
    for _ in range(3):  # it goes on for longer than a silent one would be kept
        rig.advance(rig.idle_timeout - 1)
        rig.answer("h6", rig.data("h6", 1001))
        assert pool.describe_server(WEB, "h2")["admin"] == "draining"
    rig.close("h6", 1001)
    rig.advance(rig.idle_timeout + 1)
    assert said(rig).count("service0: h2 (10.0.0.2) is drained: no connection is left") == 1
    assert pool.describe_server(WEB, "h2")["admin"] == "maint"


def test_server_without_connections_is_soon_drained(rig: Rig, pool: Operations) -> None:
    rig.obey(pool.drain(WEB, "h2"))
    rig.advance({"reactive": 0.0, "tracked": rig.idle_timeout + 0.1}[rig.mode])
    assert said(rig)[-1] == "service0: h2 (10.0.0.2) is drained: no connection is left"


def test_server_that_never_answered_is_drained_at_once(rig: Rig, pool: Operations) -> None:
    rig.hosts["h3"].mute = True
    add(rig, "h3")
    rig.obey(pool.drain(WEB, "h3"))
    assert pool.describe_server(WEB, "h3")["admin"] == "maint"


def test_server_enabled_while_it_drains_is_not_told_to_be_drained(rig: Rig, pool: Operations) -> None:
    rules = rig.switch.state()
    rig.obey(pool.drain(WEB, "h1"))
    rig.obey(pool.enable(WEB, "h1"))
    rig.advance(2 * rig.idle_timeout)
    assert pool.describe_server(WEB, "h1")["admin"] == "ready"
    assert len([text for text in said(rig) if "is drained" in text]) == {"reactive": 1, "tracked": 0}[rig.mode]
    assert rig.switch.state() == rules


def test_switch_that_restarts_during_a_drain_still_tells_of_its_end(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.obey(pool.drain(WEB, "h2"))
    rig.connect_switch(wiped=True)
    assert rig.data("h6", 1001).server == "h2"
    rig.close("h6", 1001)
    rig.advance(rig.idle_timeout + 1)
    assert pool.describe_server(WEB, "h2")["admin"] == "maint"


def test_health_goes_on_while_a_server_is_drained(rig: Rig, pool: Operations) -> None:
    rig.obey(pool.drain(WEB, "h2"))
    rig.hosts["h2"].mute = True
    rig.advance(5)
    assert pool.describe_server(WEB, "h2")["state"] == "down"
    rig.obey(pool.enable(WEB, "h2"))
    assert servers(rig, (1000, 1001)) == "11"
    rig.hosts["h2"].mute = False
    rig.advance(2)
    assert sorted(servers(rig, (2000, 2001))) == ["1", "2"]


def test_all_drained_is_a_reset_not_silence(rig: Rig, pool: Operations) -> None:
    for name in ("h1", "h2"):
        rig.obey(pool.drain(WEB, name))
    assert rig.syn("h6", 1000).reset


def test_added_server_gets_its_turn_once_it_is_up(rig: Rig) -> None:
    rig.hosts["h3"].mute = True
    add(rig, "h3")
    rig.advance(2)
    assert servers(rig, range(1000, 1004)) == "1212"
    rig.hosts["h3"].mute = False
    rig.advance(2)
    assert sorted(servers(rig, range(2000, 2006))) == list("112233")


def test_added_server_can_be_called_directly_too(rig: Rig) -> None:
    add(rig, "h3")
    rig.advance(1)
    assert rig.direct("h6", "h3")
    assert sorted(servers(rig, range(1000, 1003))) == ["1", "2", "3"]


def test_removed_servers_connections_are_reset_and_its_rules_gone(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.direct("h5", "h2")
    rig.obey(pool.remove(WEB, "h2"))
    assert rig.data("h6", 1001).reset
    assert rig.data("h6", 1000).server == "h1"
    assert servers(rig, (2000, 2001)) == "11"
    rules = rig.switch.of_kind(Cookie.CONNECTION) + rig.switch.of_kind(Cookie.DIRECT)
    assert {rule.cookie >> 48 & 0xFFF for rule in rules} == ({1} if rig.mode == "reactive" else set())
    assert rig.hosts["h2"].ip not in named(rig)


def test_client_that_waits_for_a_removed_server_is_made_to_speak_and_reset(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    before = len(rig.delivered)
    rig.obey(pool.remove(WEB, "h2"))  # the first rules that ever left
    rig.advance(0.1)
    assert [delivery.host for delivery in rig.delivered[before:] if delivery.taken] == ["h6"]
    assert rig.balancer.connections.statistics()["live"] == 1


def test_removed_server_is_a_host_like_any_other(rig: Rig, pool: Operations) -> None:
    rig.obey(pool.remove(WEB, "h2"))
    assert rig.direct("h6", "h2")
    assert rig.ping("h6", "h2")


def test_server_added_again_is_another_member(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.obey(pool.remove(WEB, "h2"))
    add(rig, "h2")
    rig.advance(2)
    assert rig.member("h2").id == 3
    later = rig.data("h6", 1001)  # a tracker that wasn't asked in between still leads to the same host
    assert later.reset or (rig.mode, later.server) == ("tracked", "h2")
    assert sorted(servers(rig, (2000, 2001))) == ["1", "2"]


def test_switch_that_was_away_loses_the_rules_of_who_was_removed_meanwhile(rig: Rig, pool: Operations) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.connected = False
    pool.remove(WEB, "h2")  # nothing reaches the switch
    rig.connect_switch()
    assert rig.hosts["h2"].ip not in named(rig)
    assert rig.data("h6", 1001).reset


def test_client_that_waits_for_a_server_removed_while_the_switch_was_away_is_made_to_speak(
    rig: Rig, pool: Operations
) -> None:
    assert servers(rig, (1000, 1001)) == "12"
    rig.connected = False
    pool.remove(WEB, "h2")
    before = len(rig.delivered)
    rig.connect_switch()
    rig.advance(0.1)
    spoken_to = [d.host for d in rig.delivered[before:] if d.taken and d.fields.get("ip_proto") == 6]
    assert spoken_to == ["h6"]


def test_pool_may_be_emptied_and_filled_again(rig: Rig, pool: Operations) -> None:
    for name in ("h1", "h2"):
        rig.obey(pool.remove(WEB, name))
    rig.advance(3)
    assert rig.syn("h6", 1000).reset
    add(rig, "h1")
    rig.advance(1)
    assert servers(rig, (2000,)) == "1"


def test_weight_is_heeded_from_the_next_connection_on() -> None:
    rig = Rig(services=[Service(policy="random")])
    rig.obey(rig.balancer.pool.set_weight(WEB, "h2", 256))
    assert servers(rig, range(1000, 1020)).count("2") > 15


@pytest.mark.parametrize("policy", WEIGHTED)
def test_every_policy_that_is_named_as_heeding_weights_does(policy: str) -> None:
    rig = Rig(services=[Service(policy=policy)])
    rig.obey(rig.balancer.pool.set_weight(WEB, "h2", 9))
    chosen = [rig.connect(client, port) for port in range(1000, 1025) for client in ("h3", "h4", "h5", "h6")]
    assert chosen.count("h2") > 70


def test_ids_come_back_as_late_as_can_be(rig: Rig, pool: Operations) -> None:
    for _ in range(MAX_MEMBERS):
        add(rig, "h3")
        last = rig.member("h3").id
        pool.remove(WEB, "h3")
    assert last == 4  # all others had their turn, and 1 and 2 are taken
    add(rig, "h3")
    assert [m.id for m in rig.balancer.services[0].members] == [1, 2, 5]


def test_services_on_one_address_share_servers_and_drain_apart() -> None:
    rig = Rig(services=[Service(), Service(port=8080)])
    rig.obey(rig.balancer.pool.drain(WEB, "h2"))
    assert servers(rig, (1000, 1001)) == "11"
    assert servers(rig, (2000, 2001), service=1) == "12"
    rig.obey(rig.balancer.pool.remove("service1", "h1"))
    assert servers(rig, (3000, 3001), service=1) == "22"
    assert servers(rig, (4000, 4001)) == "11"


def test_server_that_two_services_could_not_tell_apart_is_refused() -> None:
    both = [Service(), Service(ip="10.0.1.2", servers=("h3",))]
    rig = Rig(services=both)
    with pytest.raises(Conflict, match="h2 serves port 80 for 'service0' already"):
        add(rig, "h2", service="service1")
    rig.obey(rig.balancer.pool.remove(WEB, "h2"))
    add(rig, "h2", service="service1")
    rig.advance(1)
    assert sorted(servers(rig, (1000, 1001), service=1)) == ["2", "3"]
    with pytest.raises(ValueError, match=r"h1 serves port 80 for 'service0'.*can't be told apart"):
        Rig(services=[Service(), Service(ip="10.0.1.2", servers=("h1",))])


@pytest.mark.parametrize(
    ("ip", "sentence"),
    [
        ("FD00:0::2", r"h2 \(fd00::2\) is in the pool"),
        ("FD00:0::1:1", "service's address"),
        ("::7", "no address that a"),
    ],
)
def test_added_servers_address_is_read_however_it_is_spelt(ip: str, sentence: str) -> None:
    rig = Rig(services=[Service(ip="fd00::1:1")])
    with pytest.raises(ValueError, match=sentence):
        rig.balancer.pool.add(WEB, ServerSettings(name="h9", ip=ip))
    assert [m.name for m in rig.balancer.services[0].members] == ["h1", "h2"]


def test_list_tells_state_and_administration_apart(rig: Rig, pool: Operations) -> None:
    rig.connect("h6", 1000)
    rig.obey(pool.drain(WEB, "h2"))
    rig.advance(rig.idle_timeout + 1)
    web = pool.describe()["services"][WEB]
    assert {key: web[key] for key in ("ip", "port", "policy")} == {
        "ip": "10.0.1.1",
        "port": 80,
        "policy": "round_robin",
    }
    h1, h2 = web["servers"]["h1"], web["servers"]["h2"]
    assert (h1["ip"], h1["weight"], h1["state"], h1["admin"], h1["available"]) == ("10.0.0.1", 1, "up", "ready", True)
    assert (h2["state"], h2["admin"], h2["available"], h2["hits"]) == ("up", "maint", False, 0)


@pytest.mark.parametrize(
    ("operation", "args", "kind", "sentence"),
    [
        ("drain", (WEB, "h22"), Unknown, "service 'service0' has no server 'h22': did you mean 'h2'? known: h1, h2"),
        ("enable", ("servce0", "h2"), Unknown, "there is no service 'servce0': did you mean 'service0'?"),
        ("remove", (WEB, ""), Unknown, "service 'service0' has no server ''; known: h1, h2"),
        ("set_weight", (WEB, "h2", 0), ValueError, "a weight is a whole number from 1 to 256, not 0"),
        ("set_weight", (WEB, "h2", 257), ValueError, "not 257"),
        ("set_weight", (WEB, "h2", True), ValueError, "not True"),
        ("add", (WEB, ServerSettings(name="h2", ip="10.0.0.9")), Conflict, r"h2 \(10.0.0.2\) is in the pool of"),
        ("add", (WEB, ServerSettings(name="x", ip="10.0.0.2")), Conflict, r"h2 \(10.0.0.2\) is in the pool of"),
        ("add", (WEB, ServerSettings(name="x", ip="10.0.1.1")), Conflict, "10.0.1.1 is a service's address"),
        ("add", (WEB, ServerSettings(name="x", ip="h3")), ValueError, "'h3'"),
        ("add", (WEB, ServerSettings(name="x", ip="10.0.0.9", weight=300)), ValueError, "not 300"),
        ("add", (WEB, ServerSettings(name="x", ip="10.0.0.9", weight=2)), Conflict, "round_robin, heeds no weights; "),
        ("set_weight", (WEB, "h2", 3), Conflict, "weighted_round_robin, random, least_connections, source_hash do$"),
        ("set_weight", (WEB, "h2", 1), Conflict, "the policy of 'service0', round_robin, heeds no weights; "),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence_and_changes_nothing(
    rig: Rig, pool: Operations, operation: str, args: tuple[object, ...], kind: type[ValueError], sentence: str
) -> None:
    before = pool.describe()
    with pytest.raises(kind, match=sentence.replace("?", r"\?")):
        getattr(pool, operation)(*args)
    assert pool.describe() == before


def test_operations_twice_leave_the_same_table(rig: Rig, pool: Operations) -> None:
    rig.connect("h6", 1000)
    commands = pool.remove(WEB, "h2")
    rig.obey(commands)
    rules = rig.switch.state()
    rig.obey(commands)
    assert rig.switch.state() == rules
    assert not [c for c in commands if isinstance(c, AddRule)]
