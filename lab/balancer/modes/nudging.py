"""A client that only waits for its server's answer would wait for ever once the server is gone: it is made to speak.

A connection that was taken over from a former controller tells nothing of its client's MAC, so that one is asked for,
as any neighbour asks, and nudged when it answers. Rule: nobody is asked for ever, nor all at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from lab.balancer import packets
from lab.balancer.client import address_of, offset_of, port_of
from lab.balancer.packets import ARP_REQUEST, BROADCAST, Kind, Packet
from lab.balancer.pool import Service
from lab.balancer.rules import FLOOD, Actions, Command, GoTo, Output, SendPacket, Table

ASKED_TIMES: Final = 3  # then whoever hasn't answered is gone as well
ASKED_EVERY_S: Final = 1.0
ASKED_PER_TICK: Final = 200  # few enough that probes and new connections are not held up


@dataclass(slots=True)
class _Asked:
    """A client's address whose MAC is asked for, and the connections that wait for it."""

    waiting: list[tuple[Service, int]] = field(default_factory=list)
    times: int = 0
    due: float = float("-inf")  # s


class Nudges:
    """Nudges clients, and first finds those whose MAC isn't known."""

    def __init__(self) -> None:
        self._asked: dict[tuple[int, int], _Asked] = {}  # by the service's address, which asks, and the client's

    def nudge(self, service: Service, client: int, mac: int) -> list[Command]:
        """`mac`: 0 where it isn't known."""
        if mac:
            return [nudge(service, client, mac)]
        asked = self._asked.setdefault((service.ip, address_of(client)), _Asked())
        asked.waiting.append((service, client))
        return []

    def found(self, service_ip: int, address: int, mac: int) -> list[Command]:
        """Whoever is at `address` has told a service's address its MAC."""
        asked = self._asked.pop((service_ip, address), None)
        return [] if asked is None else [nudge(service, client, mac) for service, client in asked.waiting]

    def tick(self, now: float) -> list[Command]:
        """The questions that are due."""
        due = [key for key, asked in self._asked.items() if asked.due <= now]
        return [command for key in due[:ASKED_PER_TICK] for command in self._ask(key, now)]

    def _ask(self, key: tuple[int, int], now: float) -> list[Command]:
        asked = self._asked[key]
        if asked.times == ASKED_TIMES:
            del self._asked[key]
            return []
        asked.times += 1
        asked.due = now + ASKED_EVERY_S
        return [_question(asked.waiting[0][0], key[1])]


def _question(service: Service, address: int) -> SendPacket:
    asker = (service.mac, service.ip)
    question = packets.neighbour(ARP_REQUEST, service.mac, BROADCAST, asker, (0, address))
    return SendPacket(data=question, actions=(Output(FLOOD),))


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
