"""A learning switch: which MAC is behind which port. Runs on every switch; the balancing one has a service table more.

Two rules per host: SOURCE (port, MAC: known, go on) and DESTINATION (MAC: out at this port). A frame from an unknown
source, or from a known one at another port, is forwarded by the switch itself and shown to us as a copy, so a host that
moves is found by its first frame. Hosts that are silent for AGE_S are forgotten. Rule: a switch's links must form no
loop (the scenario is refused otherwise), since what is unknown is flooded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from lab.balancer.packets import Drop, PacketError, source_mac
from lab.balancer.rules import (
    COOKIE_KIND_SHIFT,
    COOKIE_LOW_48,
    FLOOD,
    Actions,
    AddRule,
    Command,
    Cookie,
    DeleteRules,
    GoTo,
    Match,
    Output,
    Senders,
    Table,
    ToController,
    fixed_cookie,
    mac_cookie,
)

AGE_S: Final = 300
BOUND: Final = 4096  # MACs; beyond, frames are still flooded, so nothing is lost but speed
_GROUP_BIT: Final = 1 << 40  # of a MAC: broadcast or multicast
_HEADER_BYTES: Final = 80  # of an unknown source's frame: who sent it, and in whose name, up to NDP's target
_LINK_LOCAL: Final = (0x0180C2000000, 0xFFFFFFFFFFF0)  # never forwarded (IEEE 802.1D, 7.12.6)
_PRIORITY: Final = 10


class LearningSwitch:
    """Learns one switch's hosts. `own_macs` are the balancer's: nobody else may send from them."""

    def __init__(self, own_macs: Sequence[int] = ()) -> None:
        self._own = tuple(own_macs)
        self._met = False  # the switch was connected before
        self._port_of: dict[int, int] = {}
        self.drops: Counter[Drop] = Counter()

    def port_of(self, mac: int) -> int | None:
        return self._port_of.get(mac)

    def switch_up(self, now: float) -> list[Command]:
        """The fixed rules, and those of the hosts known from before a reconnection, the last table first: nothing comes
        in until a packet's whole way is there. The first time, whatever rules the switch has are from another life and
        go; a switch that balances has that decided by the balancer."""
        first = not self._met and not self._own
        self._met = True
        rules = self._fixed_rules()
        for mac, port in self._port_of.items():
            rules += self._host_rules(mac, port)
        rules.sort(key=lambda rule: -rule.table)
        return [*([DeleteRules()] if first else []), *rules]

    def packet_in(self, in_port: int, data: bytes, learn: bool, now: float) -> list[Command]:
        try:
            return self.seen(source_mac(data), in_port)
        except PacketError as error:
            self.drops[error.drop] += 1
            return []

    def seen(self, mac: int, port: int) -> list[Command]:
        """A frame came from `mac` at `port`."""
        before = self._port_of.get(mac)
        if before == port or mac & _GROUP_BIT or mac in self._own:
            return []
        if before is None and len(self._port_of) >= BOUND:
            self.drops[Drop.MACS_FULL] += 1
            return []
        self._port_of[mac] = port
        moved = [] if before is None else [_delete_source(mac, before)]
        return [*moved, *self._host_rules(mac, port)]

    def flow_removed(self, cookie: int, deleted: bool, now: float) -> list[Command]:
        """A rule idled out; a host's SOURCE rule means that it has been silent for AGE_S. What is `deleted`, we did."""
        if deleted:
            return []
        mac = cookie & COOKIE_LOW_48
        if cookie >> COOKIE_KIND_SHIFT != Cookie.SOURCE or self._port_of.pop(mac, None) is None:
            return []
        return [_delete_destination(mac)]

    def port_changed(self, port: int, up: bool, now: float) -> list[Command]:
        if up:
            return []
        gone = [mac for mac, at in self._port_of.items() if at == port]
        for mac in gone:
            del self._port_of[mac]
        return [command for mac in gone for command in (_delete_source(mac, port), _delete_destination(mac))]

    def rules_found(self, cookies: Sequence[int], senders: Senders, now: float) -> list[Command]:
        return []  # never asked for

    def tick(self, now: float) -> list[Command]:
        return []

    def _fixed_rules(self) -> list[AddRule]:
        nobody: list[Match] = [{"eth_src": (_GROUP_BIT, _GROUP_BIT)}, *({"eth_src": mac} for mac in self._own)]
        return [
            *(_fixed(Table.SOURCE, 20, match, ()) for match in nobody),
            _fixed(Table.SOURCE, 0, {}, (ToController(_HEADER_BYTES, learn=True), GoTo(Table.SERVICE))),
            _fixed(Table.SERVICE, 0, {}, (GoTo(Table.DESTINATION),)),
            _fixed(Table.DESTINATION, 20, {"eth_dst": _LINK_LOCAL}, ()),
            _fixed(Table.DESTINATION, 0, {}, (Output(FLOOD),)),
        ]

    def _host_rules(self, mac: int, port: int) -> list[AddRule]:
        return [
            AddRule(
                table=Table.SOURCE,
                priority=_PRIORITY,
                match={"in_port": port, "eth_src": mac},
                actions=(GoTo(Table.SERVICE),),
                cookie=mac_cookie(Cookie.SOURCE, mac),
                idle_timeout=AGE_S,
                notify=True,
            ),
            AddRule(
                table=Table.DESTINATION,
                priority=_PRIORITY,
                match={"eth_dst": mac},
                actions=(Output(port),),
                cookie=mac_cookie(Cookie.DESTINATION, mac),
            ),
        ]


def _fixed(table: Table, priority: int, match: Match, actions: Actions) -> AddRule:
    return AddRule(table=table, priority=priority, match=match, actions=actions, cookie=fixed_cookie())


def _delete_source(mac: int, port: int) -> DeleteRules:
    return DeleteRules(table=Table.SOURCE, priority=_PRIORITY, match={"in_port": port, "eth_src": mac})


def _delete_destination(mac: int) -> DeleteRules:
    return DeleteRules(table=Table.DESTINATION, priority=_PRIORITY, match={"eth_dst": mac})
