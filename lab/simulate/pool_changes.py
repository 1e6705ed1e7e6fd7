"""A whole balancer whose pool changes: servers fail and return, are drained and enabled, change weight, come and go.

Rule: the balancer is told as a switch and an operator would tell it (a port goes down, a server answers by ARP, a pool
operation), never by a hand on its inside. Health checks stand still: no time passes, so none becomes overdue.
"""

from __future__ import annotations

import ipaddress
import random
from typing import Final

from lab.balancer.balancer import Balancer
from lab.balancer.policies import heeds_weights
from lab.balancer.pool import Member
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings
from lab.simulate.fleet import SERVICE_IP, PolicyMaker, arp_answer, chance, server_ip

SERVICE: Final = "web"
NOW: Final = 0.0  # s
CHANGES: Final = (
    "fail",
    "return",
    "drain",
    "enable",
    "heavier",
    "lighter",
    "add",
    "remove",
)  # again and again, in turn
HEAVIER: Final = 3  # weight; the others have 1


def make_balancer(
    maker: PolicyMaker, count: int, seed: int, *, bound: int, table_size: int, idle_timeout: int = 10
) -> Balancer:
    """A balancer in reactive mode whose `count` servers are up; server n is at its switch's port n."""
    wanted = [ServerSettings(name=f"s{n}", ip=_text(server_ip(n))) for n in range(1, count + 1)]
    service = ServiceSettings(name=SERVICE, ip=_text(SERVICE_IP), servers=wanted, policy=maker.name)
    settings = Settings(
        services=[service],
        bound=bound,
        idle_timeout=idle_timeout,
        hash_table_size=table_size,
        plugins={maker.name: maker.plugin} if maker.plugin else {},
    )
    balancer = Balancer(settings, chance(seed, "balancer", maker.name, count))
    balancer.switch_up(NOW)
    for number in range(1, count + 1):
        _answer(balancer, number)
    return balancer


def _answer(balancer: Balancer, number: int) -> None:
    """Server `number` answers the probe that was sent to it."""
    balancer.packet_in(number, arp_answer(number, balancer.services[0].mac), False, NOW)


def _text(ip: int) -> str:
    return str(ipaddress.IPv4Address(ip))


class PoolChanges:
    """Makes one change after the other; every second one undoes the one before. `rng`: whom they meet."""

    def __init__(self, balancer: Balancer, rng: random.Random) -> None:
        self._balancer = balancer
        self._rng = rng
        self._members = balancer.services[0].members
        self._met = self._members[0]
        self._newest = len(self._members)
        self.made = 0

    def next(self) -> Member | None:
        """Make the next change; the member whose connections it ends, if it does."""
        change = CHANGES[self.made % len(CHANGES)]
        if self.made % 2 == 0 and change != "add":
            self._met = self._rng.choice([member for member in self._members if member.available])
        self.made += 1
        if change == "add":
            self._met = self._add()
        else:
            self._make(change)
        return self._met if change in ("fail", "remove") else None

    def _make(self, change: str) -> None:
        pool, name = self._balancer.pool, self._met.name
        if change == "fail":
            self._balancer.port_changed(self._met.id, False, NOW)
        elif change == "return":
            self._balancer.port_changed(self._met.id, True, NOW)
            _answer(self._balancer, self._met.id)
        elif change in ("heavier", "lighter"):
            if heeds_weights(self._balancer.services[0].policy):  # else it is refused
                pool.set_weight(SERVICE, name, HEAVIER if change == "heavier" else 1)
        else:
            {"drain": pool.drain, "enable": pool.enable, "remove": pool.remove}[change](SERVICE, name)

    def _add(self) -> Member:
        self._newest += 1
        settings = ServerSettings(name=f"s{self._newest}", ip=_text(server_ip(self._newest)))
        self._balancer.pool.add(SERVICE, settings)
        self._balancer.tick(NOW)
        _answer(self._balancer, self._newest)
        return next(member for member in self._members if member.name == settings.name)
