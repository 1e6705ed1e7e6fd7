"""The switch tree: names, addresses and links that the file leaves open are filled in, then the whole is checked.

Rule: filling never fails and never corrects: what is wrong stays as given, for the checks to point at."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

from lab.driver.scenario_findings import Finding, twice
from lab.driver.scenario_model import MAX_HOSTS, MAX_SWITCHES, Host, Switch, Topology
from lab.driver.wording import alternatives, listing, quote


def complete(given: Topology, *, ipv6: bool = False) -> Topology:
    """`given` with every host, switch and link written out. `ipv6`: hosts without an IPv6 address get one."""
    switches = _switches(given)
    links = _links(given, list(switches))
    hangs_on = _places_for_hosts(given, list(switches), links)
    balancer = given.balancer or (next(iter(switches)) if len(switches) == 1 else None)
    return Topology.model_construct(
        hosts=_hosts(given, hangs_on, ipv6=ipv6), switches=switches, links=links, balancer=balancer
    )


def tree_size(depth: int, fanout: int) -> int:
    """Switches of a tree; stops counting beyond what is allowed."""
    size, level = 0, 1
    for _ in range(depth):
        size += level
        level *= fanout
        if size > MAX_SWITCHES:
            break
    return size


def host_number_ip(number: int) -> str:
    """10.0.0.1 to 10.0.0.254, then 10.0.2.1 and so on: 10.0.1.x stays free for services."""
    block, last = divmod(number - 1, 254)
    return f"10.0.{block + 1 if block else 0}.{last + 1}"


def host_number_ip6(number: int) -> str:
    """fd00::1/64 to fd00::1000/64, the number's digits as they are; longer addresses stay free for services."""
    return f"fd00::{number}/64"


def mac_of(ip: str) -> str:
    return "02:00:" + ipaddress.IPv4Interface(ip).ip.packed.hex(":")


def _switches(given: Topology) -> dict[str, Switch | None]:
    wanted = given.switches
    if isinstance(wanted, dict):
        named = wanted
    else:
        made = wanted or min(_switches_made(given), MAX_SWITCHES)
        named = {f"s{number}": None for number in range(1, made + 1)}
    dpids = {name: switch.dpid for name, switch in named.items() if switch and switch.dpid}
    dpids |= _numbers([name for name in named if name not in dpids], "s", set(dpids.values()))
    return {name: Switch.model_construct(dpid=dpids[name]) for name in named}


def _switches_made(given: Topology) -> int:
    if given.kind is None or given.depth is None:
        return 1
    return tree_size(given.depth, _fanout(given))


def _fanout(given: Topology) -> int:
    """A line is a tree with one branch; a tree has two, as Mininet's, unless told otherwise."""
    return 1 if given.kind == "linear" else given.fanout or 2


def _numbers(names: Sequence[str], letter: str, taken: set[int]) -> dict[str, int]:
    """N for a name such as sN (taken or not: a check will tell), then the lowest free number for each other."""
    own = {name: int(name[1:]) for name in names if re.fullmatch(f"{letter}[1-9][0-9]{{0,3}}", name)}
    used = taken | set(own.values())
    free = (number for number in count(1) if number not in used)
    return {name: own[name] if name in own else next(free) for name in names}


def _links(given: Topology, switches: Sequence[str]) -> list[list[str]]:
    if given.kind is None:
        return [list(link) for link in given.links or []]
    fanout = _fanout(given)
    return [[switches[(index - 1) // fanout], switches[index]] for index in range(1, len(switches))]


def _places_for_hosts(given: Topology, switches: Sequence[str], links: Sequence[Sequence[str]]) -> Sequence[str]:
    """Where hosts without a place hang, in turn: leaves of a tree, each switch of a line, else the first switch."""
    if given.kind == "tree":
        parents = {link[0] for link in links}
        return [name for name in switches if name not in parents]
    return switches if given.kind == "linear" else switches[:1]


def _hosts(given: Topology, hangs_on: Sequence[str], *, ipv6: bool) -> dict[str, Host | None]:
    wanted = given.hosts
    named = wanted if isinstance(wanted, dict) else {f"h{number}": None for number in range(1, wanted + 1)}
    ips = {name: host.ip for name, host in named.items() if host and host.ip}
    given_ips = {ip.partition("/")[0] for ip in ips.values()}
    taken = {number for number in range(1, MAX_HOSTS + 1) if host_number_ip(number) in given_ips}
    numbers = _numbers([name for name in named if name not in ips], "h", taken)
    ips |= {name: f"{host_number_ip(number)}/8" for name, number in numbers.items()}
    ips6: dict[str, str | None] = {name: host.ip6 for name, host in named.items() if host and host.ip6}
    if ipv6:
        given_ips6 = {(ip or "").partition("/")[0] for ip in ips6.values()}
        taken6 = {n for n in range(1, MAX_HOSTS + 1) if host_number_ip6(n).partition("/")[0] in given_ips6}
        numbers = _numbers([name for name in named if name not in ips6], "h", taken6)
        ips6 |= {name: host_number_ip6(number) for name, number in numbers.items()}
    places = {name: hangs_on[i % len(hangs_on)] for i, name in enumerate(named)}
    return {name: _host(named[name], ips[name], ips6.get(name), places[name]) for name in named}


def _host(given: Host | None, ip: str, ip6: str | None, switch: str) -> Host:
    mac = given.mac if given and given.mac else mac_of(ip)
    return Host.model_construct(ip=ip, ip6=ip6, mac=mac, switch=(given.switch if given else None) or switch)


def check_shape(given: Topology, _: Topology) -> Iterator[Finding]:
    """kind, depth, fanout, links and switches must not say different things."""
    at: Final = ("topology",)
    if given.kind and given.links is not None:
        yield Finding(
            (*at, "links"), '"links" and "kind" exclude each other: list the links, or have them made', "shape", True
        )
    for key in ("depth", "fanout"):
        if getattr(given, key) is not None and given.kind is None:
            yield Finding((*at, key), f"{quote(key)} says nothing without kind: linear or kind: tree", "shape", True)
    if given.kind == "linear" and given.fanout is not None:
        yield Finding((*at, "fanout"), '"fanout" is for kind: tree; a line has none', "shape", True)
    if given.kind and given.depth is None and given.switches is None:
        yield Finding((*at, "kind"), f"kind {quote(given.kind)} needs depth, or the switches", "shape")
    if given.kind and given.depth is not None:
        yield from _check_size(given, given.depth)


def _check_size(given: Topology, depth: int) -> Iterator[Finding]:
    size = tree_size(depth, _fanout(given))
    if size > MAX_SWITCHES:
        text = f"depth {depth} and fanout {_fanout(given)} make more than {MAX_SWITCHES} switches"
        yield Finding(("topology", "depth"), text, "shape")
    elif given.switches is not None:
        found = len(given.switches) if isinstance(given.switches, dict) else given.switches
        if found != size:
            text = f"depth {depth} makes {size} switches, but there are {found}: leave one of the two out"
            yield Finding(("topology", "depth"), text, "shape")


def check_links(_: Topology, topology: Topology) -> Iterator[Finding]:
    """Links join two known switches and close no loop (a frame would circle for ever); no switch stands apart."""
    switches, at = _names(topology.switches), ("topology", "links")
    group = {name: name for name in switches}
    sound = True
    for index, link in enumerate(topology.links or []):
        finding = _check_link(link, switches, group, (*at, index))
        if finding:
            sound = sound and finding.slug != "unknown-switch"
            yield finding
    apart = [name for name in switches if group[name] != group[switches[0]]]
    if apart and sound:
        text = f"no link joins {quote(apart[0])} with {quote(switches[0])}"
        yield Finding(("topology", "switches", apart[0]), text, "apart", True)


def _check_link(
    link: Sequence[str], switches: Sequence[str], group: dict[str, str], at: tuple[str | int, ...]
) -> Finding | None:
    """Joins the groups of the two switches; what is wrong with the link, if anything."""
    for end, name in enumerate(link):
        if name not in group:
            return Finding((*at, end), f"unknown switch {quote(name)}{alternatives(name, switches)}", "unknown-switch")
    one, other = (group[name] for name in link)
    if one == other:
        how = "joins a switch with itself" if link[0] == link[1] else "closes a loop"
        return Finding((*at, 0), f"the link {link[0]}-{link[1]} {how}", "loop")
    for name in switches:
        if group[name] == other:
            group[name] = one
    return None


def check_switches(_: Topology, topology: Topology) -> Iterator[Finding]:
    assert isinstance(topology.switches, dict)
    dpids = {name: switch.dpid for name, switch in topology.switches.items() if switch}
    yield from twice("dpid", dpids, ("topology", "switches"), "dpid")


def check_hosts(_: Topology, topology: Topology) -> Iterator[Finding]:
    """Each host on a known switch, with a name and addresses of its own."""
    at, switches = ("topology", "hosts"), _names(topology.switches)
    hosts = named_hosts(topology)
    for name, host in hosts.items():
        if name in switches:
            yield Finding((*at, name), f"{quote(name)} is a switch's name already", "duplicate-name", True)
        if host.switch not in switches:
            text = f"unknown switch {quote(host.switch)}{alternatives(host.switch or '', switches)}"
            yield Finding((*at, name, "switch"), text, "unknown-switch")
    ips = {name: (host.ip or "").partition("/")[0] for name, host in hosts.items()}
    yield from twice("IPv6 address", {n: h.ip6.partition("/")[0] for n, h in hosts.items() if h.ip6}, at, "ip6")
    doubles = list(twice("IP address", ips, at, "ip"))
    again = {
        finding.path[-2] for finding in doubles
    }  # a MAC address made of such an IP address is no mistake of its own
    macs = {name: host.mac for name, host in hosts.items() if name not in again or host.mac != mac_of(host.ip or "")}
    yield from doubles
    yield from twice("MAC address", macs, at, "mac")


def check_balancer(_: Topology, topology: Topology) -> Iterator[Finding]:
    """Named where there is a choice."""
    switches = _names(topology.switches)
    if topology.balancer is None:
        text = f'"balancer" is missing: which of the switches balances? known: {listing(switches)}'
        yield Finding(("topology", "balancer"), text, "missing-key")
    elif topology.balancer not in switches:
        text = f"unknown switch {quote(topology.balancer)}{alternatives(topology.balancer, switches)}"
        yield Finding(("topology", "balancer"), text, "unknown-switch")


def named_hosts(topology: Topology) -> dict[str, Host]:
    """Hosts of a completed topology."""
    assert isinstance(topology.hosts, dict)
    return {name: host for name, host in topology.hosts.items() if host}


def branches(topology: Topology) -> dict[str, str]:
    """Host → what is at the other end of the balancing switch's port that leads to it: itself, or a switch."""
    neighbours: dict[str, list[str]] = {name: [] for name in _names(topology.switches)}
    for one, other in topology.links or []:
        neighbours[one].append(other)
        neighbours[other].append(one)
    balancer = topology.balancer or ""
    branch = {balancer: ""}
    queue = [balancer]
    for switch in queue:  # grows on the way: breadth first
        for near in neighbours[switch]:
            if near not in branch:
                branch[near] = branch[switch] or near
                queue.append(near)
    return {name: branch.get(host.switch or "") or name for name, host in named_hosts(topology).items()}


def _names(switches: object) -> list[str]:
    assert isinstance(switches, dict)
    return list(switches)
