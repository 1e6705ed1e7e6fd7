"""Clients that only wait for an answer of a connection that was taken over: where they are, no rule tells, so they are
asked for."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.rig import SERVICE, Rig, Service

from lab.balancer.modes.nudging import ASKED_TIMES


def waiting(ip: str = SERVICE) -> Rig:
    """h3 waits for h2 at two ports, and the controller is another one."""
    rig = Rig(services=[Service(ip=ip)])
    assert [rig.connect(*who) for who in (("h4", 1), ("h3", 40001), ("h4", 2), ("h3", 40003))] == ["h1", "h2"] * 2
    rig.restart_controller()
    return rig


def asked_for(rig: Rig, host: str, since: int) -> int:
    """How often the service has asked everybody for a host's MAC."""
    wanted = rig.hosts[host]
    seen = [d.fields for d in rig.delivered[since:] if d.host == "h5"]
    asks = [f for f in seen if wanted.ip == f.get("arp_tpa") or wanted.ip6 == f.get("nd_target")]
    return len([f for f in asks if f["eth_src"] == rig.service_mac()])


@pytest.mark.parametrize("ip", [SERVICE, "fd00::1:1"])
def test_adopted_connections_client_is_asked_for_and_nudged_when_their_server_dies(ip: str) -> None:
    rig = waiting(ip)
    before = len(rig.delivered)
    rig.link_down("h2")
    rig.advance(0.1)
    nudges = [d for d in rig.delivered[before:] if d.taken and "tcp_dst" in d.fields]
    assert [(d.host, d.fields["tcp_dst"]) for d in nudges] == [("h3", 40001), ("h3", 40003)]
    assert {(d.fields["eth_src"], d.fields["src"]) for d in nudges} == {(rig.service_mac(), frames.ip(ip))}
    assert asked_for(rig, "h3", before) == 1  # once for all of its connections
    assert [rig.data("h3", port).reset for port in (40001, 40003)] == [True, True]
    rig.advance(5)
    assert asked_for(rig, "h3", before) == 1
    assert "unexpected_arp" not in rig.has_drops()


def test_client_that_does_not_answer_is_asked_again_and_then_forgotten() -> None:
    rig = waiting()
    before = len(rig.delivered)
    rig.hosts["h3"].mute = True
    rig.link_down("h2")
    rig.advance(10)
    assert asked_for(rig, "h3", before) == ASKED_TIMES
    rig.hosts["h3"].mute = False
    h3, service = rig.hosts["h3"], (rig.service_mac(), frames.ip(SERVICE))
    rig.send("h3", frames.arp(2, h3.mac, service[0], (h3.mac, h3.ip), service))
    assert not [d for d in rig.delivered[before:] if d.host == "h3" and d.taken]
    assert rig.has_drops() == {"unexpected_arp": 1}


def test_server_that_waits_as_a_client_is_nudged_and_stays_up() -> None:
    rig = Rig()
    assert [rig.connect("h1", 40001), rig.connect("h1", 40002)] == ["h1", "h2"]
    rig.restart_controller()
    before = len(rig.delivered)
    rig.link_down("h2")
    rig.advance(0.1)
    assert [d.fields["tcp_dst"] for d in rig.delivered[before:] if d.host == "h1" and "seq" in d.fields] == [40002]
    assert rig.up() == ["h1"]


def test_only_so_many_clients_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.balancer.modes.nudging.ASKED_PER_TICK", 2)
    rig = Rig(services=[Service(servers=["h1"])])
    for client in ("h2", "h3", "h4", "h5", "h6"):
        rig.connect(client)
    rig.restart_controller()
    before, counts = len(rig.commands), []
    rig.link_down("h1")
    for _ in range(4):
        rig.advance(0.05)
        counts.append(len([ip for ip in rig.probes(before) if ip != rig.hosts["h1"].ip]))
    assert counts == [2, 4, 5, 5]
