"""A client that only waits for its server's answer would wait for ever once the server is gone: it is made to speak."""

from __future__ import annotations

from lab.balancer import packets
from lab.balancer.client import address_of, offset_of, port_of
from lab.balancer.packets import Kind, Packet
from lab.balancer.pool import Service
from lab.balancer.rules import Actions, GoTo, SendPacket, Table


def nudge(service: Service, client: int, mac: int) -> SendPacket:
    """A packet in the service's name to `client` at `mac`; what it answers is then reset."""
    return nudge_through(service, service.ip, client, mac, (GoTo(Table.DESTINATION),))


def nudge_through(service: Service, ip: int, client: int, mac: int, actions: Actions) -> SendPacket:
    """The same from the address `ip`, which `actions` turn into the service's."""
    sender = Packet(
        Kind.TCP,
        eth_src=mac,
        eth_dst=service.mac,
        ip_src=address_of(client),
        ip_dst=ip,
        src_port=port_of(client),
        dst_port=service.port + offset_of(client),
    )
    return SendPacket(data=packets.nudge(sender), actions=actions)
