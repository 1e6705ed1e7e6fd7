"""A client, as the balancer's tables know it: one integer for what tells a connection of a service from its others.

    address << 16 | port, and for a service of several ports, above that (from bit 144 on), how far the asked port is
    from the service's first

So a client of a service with one port is its address and port alone. Rule: nobody else takes such a number apart.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final

from lab.balancer.connections import DEFAULT_BOUND
from lab.balancer.packets import Packet
from lab.balancer.pool import Service

_ADDRESS: Final = (1 << 128) - 1
_OFFSET_SHIFT: Final = 144
MARK_BITS: Final = 48


def asking(service: Service, packet: Packet) -> int:
    """Who sent a packet to the service."""
    return number(packet.ip_src, packet.src_port, packet.dst_port - service.port)


def asked(service: Service, packet: Packet) -> int:
    """Who is to get a server's answer."""
    return number(packet.ip_dst, packet.dst_port, packet.src_port - service.port)


def number(address: int, port: int, offset: int = 0) -> int:
    """`offset`: of the service's port from its first."""
    client = address << 16 | port
    return offset << _OFFSET_SHIFT | client if offset else client


def address_of(client: int) -> int:
    return client >> 16 & _ADDRESS


def port_of(client: int) -> int:
    return client & 0xFFFF


def offset_of(client: int) -> int:
    """How far the port that it asked is from its service's first."""
    return client >> _OFFSET_SHIFT


def mark(client: int) -> int:
    """What a cookie has room for: the client itself, or a digest of one that needs more than 48 bits.

    Two clients of one digest only share what is told by cookie: that a rule is gone. Nobody gets another's server."""
    if client >> MARK_BITS == 0:
        return client
    return int.from_bytes(hashlib.blake2b(client.to_bytes(20, "big"), digest_size=6).digest(), "big")


class Marked:
    """Clients by their mark, of those that a mark doesn't tell by itself. At most `bound`; the oldest leave first."""

    def __init__(self, bound: int = DEFAULT_BOUND) -> None:
        self._bound = bound
        self._clients: OrderedDict[int, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._clients)

    def note(self, client: int) -> int:
        """The client, which is found by its mark from now on."""
        found = mark(client)
        if found != client:
            self._clients[found] = client
            if len(self._clients) > self._bound:
                self._clients.popitem(last=False)
        return client

    def of(self, found: int) -> int:
        """The client of a mark; the mark itself where that is no other's."""
        return self._clients.get(found, found)

    def forget(self, client: int) -> None:
        self._clients.pop(mark(client), None)
