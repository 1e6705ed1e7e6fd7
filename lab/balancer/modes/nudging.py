"""A client that only waits for its server's answer would wait for ever once the server is gone: it is made to speak."""

from __future__ import annotations

from lab.balancer import packets
from lab.balancer.packets import Kind, Packet
from lab.balancer.pool import Service
from lab.balancer.rules import GoTo, SendPacket, Table


def nudge(service: Service, client: int, mac: int) -> SendPacket:
    """A packet in the service's name to `client` (address << 16 | port) at `mac`; what it answers is then reset."""
    sender = Packet(
        Kind.TCP,
        eth_src=mac,
        eth_dst=service.mac,
        ip_src=client >> 16,
        ip_dst=service.ip,
        src_port=client & 0xFFFF,
        dst_port=service.port,
    )
    return SendPacket(data=packets.nudge(sender), actions=(GoTo(Table.DESTINATION),))
