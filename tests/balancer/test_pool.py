from __future__ import annotations

from helpers import frames

from lab.balancer.health import Health, HealthSettings
from lab.balancer.pool import Member, Service, service_mac


def test_live_members_keep_the_pools_order() -> None:
    members = [Member(id=n, name=f"h{n}", ip=n, health=Health(HealthSettings(rise=1))) for n in (1, 2, 3)]
    service = Service(name="web", ip=9, port=80, mac=1, policy="random", members=members)
    assert service.live() == []
    for member in (members[2], members[0]):
        assert member.health.probe_due(1.0)
        assert member.health.answered(1.1)
    assert [m.name for m in service.live()] == ["h1", "h3"]
    assert [m.up for m in members] == [True, False, True]


def test_services_mac_is_local_unicast_and_its_own() -> None:
    macs = {service_mac(frames.ip(f"10.0.{n}.1")) for n in range(9)}
    assert len(macs) == 9
    for mac in macs:
        first = mac >> 40
        assert first & 0b11 == 0b10  # locally administered, one receiver
        assert mac >> 32 != 0x0200  # the lab's hosts
        assert mac > 0xFFFF  # a small dpid read as a MAC
