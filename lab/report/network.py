"""The network of a run as the scenario tells it: hosts, switches, links. Read leniently, for drawing only.

Rule: a scenario that the driver ran is right, so nothing is refused here; what isn't there gets the scenario's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

MAX_DRAWN: Final = 1000  # hosts or switches; the scenario language allows no more


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """`links` join switches. `hosts`: name → switch that it hangs on."""

    hosts: Mapping[str, str]
    ips: Mapping[str, str]  # without prefix length
    switches: Mapping[str, int | None]  # name → dpid
    links: tuple[tuple[str, str], ...]
    balancer: str

    def neighbours(self, switch: str) -> list[str]:
        ends = ((b if a == switch else a) for a, b in self.links if switch in (a, b))
        return [end for end in dict.fromkeys(ends) if end in self.switches and end != switch]


def read_network(scenario: Mapping[str, Any]) -> Network:
    topology = _mapping(scenario.get("topology"))
    links = _listed_links(topology) or _made_links(topology)
    switches = _switches(topology, links)
    hosts = _named(topology.get("hosts", 6), "h")
    return Network(
        hosts=_places(hosts, topology, tuple(switches), links),
        ips={name: _ip(index, value) for index, (name, value) in enumerate(hosts.items(), 1)},
        switches=switches,
        links=links,
        balancer=_balancer(topology, switches),
    )


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _named(value: Any, letter: str) -> dict[str, dict[str, Any]]:
    """A mapping of name to settings, or a number of them."""
    if isinstance(value, int):
        return {f"{letter}{i}": {} for i in range(1, min(value, MAX_DRAWN) + 1)}
    return {name: _mapping(item) for name, item in list(_mapping(value).items())[:MAX_DRAWN]}


def _switches(topology: dict[str, Any], links: tuple[tuple[str, str], ...]) -> dict[str, int | None]:
    named = _named(topology.get("switches") or None, "s")
    names = list(named) or sorted({end for link in links for end in link}, key=_by_number) or ["s1"]
    return {name: _dpid(name, named.get(name, {})) for name in names}


def _by_number(name: str) -> tuple[int, str]:
    return (len(name), name)


def _dpid(name: str, settings: dict[str, Any]) -> int | None:
    dpid = settings.get("dpid")
    if isinstance(dpid, int):
        return dpid
    return int(name[1:]) if name[1:].isdecimal() else None


def _listed_links(topology: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    links = topology.get("links")
    pairs = links if isinstance(links, list) else []
    return tuple((str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2)


def _made_links(topology: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The links of `kind: linear` (a chain) and `kind: tree` (numbered level by level)."""
    depth, fanout = (value if isinstance(value := topology.get(key), int) else None for key in ("depth", "fanout"))
    if topology.get("kind") == "linear":
        count = depth or len(_named(topology.get("switches"), "s")) or 1
        return tuple((f"s{i}", f"s{i + 1}") for i in range(1, min(count, MAX_DRAWN)))
    if topology.get("kind") != "tree":
        return ()
    width = fanout or 2
    count = min(sum(width**level for level in range(min(depth or 2, 10))), MAX_DRAWN)
    return tuple((f"s{(i - 2) // width + 1}", f"s{i}") for i in range(2, count + 1))


def _places(
    hosts: dict[str, dict[str, Any]],
    topology: dict[str, Any],
    switches: tuple[str, ...],
    links: tuple[tuple[str, str], ...],
) -> dict[str, str]:
    """A host hangs where it says; else on the first switch, or in turn where the scenario names a kind."""
    parents = {a for a, _ in links}
    in_turn = switches[:1]
    if topology.get("kind") == "linear":
        in_turn = switches
    elif topology.get("kind") == "tree":
        in_turn = tuple(name for name in switches if name not in parents) or switches
    turn = cycle(in_turn)
    places = {name: str(settings.get("switch") or next(turn)) for name, settings in hosts.items()}
    return {name: place if place in switches else switches[0] for name, place in places.items()}


def _ip(index: int, settings: dict[str, Any]) -> str:
    given = settings.get("ip")
    return str(given).partition("/")[0] if given else f"10.0.{index // 256}.{index % 256}"


def _balancer(topology: dict[str, Any], switches: Mapping[str, int | None]) -> str:
    named = str(topology.get("balancer"))
    return named if named in switches else next(iter(switches))
