"""Where everything stands in the picture of the network: a tree that grows from the balancing switch to both sides.

Clients hang on the left, servers on the right: the scenario language lets no port of the balancing switch have both
behind it, so a branch belongs to one side. Each branch has a band of its own, and lines cross no box.
Rule: this module knows sizes and places, no SVG (`drawing`), and every picture stays readable: many hosts on a switch
become one box of small chips, very many a box with their number, very many switches one box a side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lab.report.network import Network
from lab.report.summary import natural

MARGIN: Final = 12.0
HOST_WIDTH, HOST_HEIGHT, HOST_ROW = 136.0, 30.0, 40.0
SWITCH_WIDTH, SWITCH_HEIGHT = 112.0, 60.0
BALANCER_WIDTH, BALANCER_HEIGHT = 132.0, 84.0
CHIP_WIDTH, CHIP_HEIGHT, BUNDLE_HEAD, BUNDLE_PAD = 84.0, 26.0, 30.0, 8.0
GAP: Final = 132.0  # between hosts and their switches
STRAIGHT: Final = 48.0  # of it, where the number of requests stands on the line
COLUMN: Final = 176.0  # from switch to switch
BAND_GAP: Final = 14.0  # between branches
CONTROLLER_BOTTOM: Final = 64.0
BODY_TOP: Final = 104.0
SERVICE_ROW: Final = 24.0
FULL_WIDTH: Final = 26.0  # of the strands of all requests together
MAX_SINGLE: Final = 16  # hosts of a side that are drawn one by one
MAX_CHIPS: Final = 60  # of a bundle
MAX_SWITCHES: Final = 24
CHIP_COLUMNS: Final = 4
CLIENT, SERVER, IDLE = "client", "server", "idle"
ROLES: Final = (CLIENT, SERVER, IDLE)

Flow = Counter["str | None"]  # server that answered, or None → requests


@dataclass(kw_only=True, slots=True)
class Node:
    """A box: a switch, a host, or a bundle of hosts of one role. `x`, `y`: its middle. `flow`: through its link up."""

    kind: str  # switch, host, bundle
    name: str
    role: str = IDLE
    hosts: tuple[str, ...] = ()
    children: list[Node] = field(default_factory=list)
    flow: Flow = field(default_factory=Counter)
    depth: int = 0  # switches between it and the balancing switch, itself included
    width: float = HOST_WIDTH
    height: float = HOST_HEIGHT
    x: float = 0.0
    y: float = 0.0

    def leaves(self) -> Iterable[Node]:
        if self.kind != "switch":
            yield self
        for child in self.children:
            yield from child.leaves()

    def switches(self) -> Iterable[Node]:
        if self.kind == "switch":
            yield self
        for child in self.children:
            yield from child.switches()


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    width: float
    height: float
    root: Node  # the balancing switch; its children are `left` and `right`
    left: Sequence[Node]
    right: Sequence[Node]
    left_depth: int
    right_depth: int
    roles: Mapping[str, str]
    flows: Mapping[str, Flow]  # host → its own flow
    total: int  # requests


@dataclass(frozen=True, kw_only=True, slots=True)
class _Facts:
    network: Network
    roles: Mapping[str, str]
    flows: Mapping[str, Flow]


def lay_out(
    network: Network,
    servers: Iterable[str],
    clients: Iterable[str],
    pairs: Mapping[tuple[str, str | None], int],
    services: int = 1,
) -> Layout:
    """`pairs`: (client, who answered) → requests. `services`: rows of text below the balancing switch."""
    roles = _roles(network, set(servers), {*clients, *(client for client, _ in pairs)})
    facts = _Facts(network=network, roles=roles, flows=_flows(pairs))
    left, right = _branches(facts)
    root = Node(kind="switch", name=network.balancer, children=[*left, *right])
    root.width, root.height = BALANCER_WIDTH, max(BALANCER_HEIGHT, _stack(left, facts), _stack(right, facts))
    width, depths = _columns(root, left, right)
    height = _rows(root, left, right, services)
    return Layout(
        width=width,
        height=height,
        root=root,
        left=left,
        right=right,
        left_depth=depths[0],
        right_depth=depths[1],
        roles=roles,
        flows=facts.flows,
        total=sum(pairs.values()),
    )


def _roles(network: Network, servers: set[str], clients: set[str]) -> dict[str, str]:
    return {host: SERVER if host in servers else CLIENT if host in clients else IDLE for host in network.hosts}


def _flows(pairs: Mapping[tuple[str, str | None], int]) -> dict[str, Flow]:
    flows: dict[str, Flow] = {}
    for (client, server), count in pairs.items():
        flows.setdefault(client, Counter())[server] += count
        if server is not None and server != client:
            flows.setdefault(server, Counter())[server] += count
    return flows


def strand_width(count: int, total: int) -> float:
    """Of a line that stands for `count` of `total` requests; the thinnest can still be seen."""
    return max(1.5, FULL_WIDTH * count / total) if total else 1.5


def bundle_width(node: Node, total: int) -> float:
    """Of all strands of a node's link beside each other."""
    return sum(strand_width(count, total) for count in node.flow.values()) or 1.5


def _stack(nodes: Sequence[Node], facts: _Facts) -> float:
    """Height of a switch's side on which the links of `nodes` end."""
    total = sum(flow.total() for host, flow in facts.flows.items() if facts.roles.get(host) == CLIENT)
    return sum(bundle_width(node, total) + 3 for node in nodes) + 20


def _branches(facts: _Facts) -> tuple[list[Node], list[Node]]:
    """What hangs on the balancing switch, left and right."""
    network = facts.network
    crowded = _crowded(facts)
    own = [host for host, switch in network.hosts.items() if switch == network.balancer]
    left = _leaves([host for host in own if facts.roles[host] != SERVER], facts, depth=0, bundle=crowded)
    right = _leaves([host for host in own if facts.roles[host] == SERVER], facts, depth=0, bundle=crowded)
    if len(network.switches) > MAX_SWITCHES:
        branches = _merged(facts)
    else:
        seen = {network.balancer}
        near = network.neighbours(network.balancer)
        branches = [
            _grow(name, 1, facts, seen, crowded) for name in near if name not in seen
        ]  # seen: it grows meanwhile
    for branch in branches:
        serves = any(leaf.role == SERVER for leaf in branch.leaves())
        (right if serves else left).append(branch)
    return left, right


def _crowded(facts: _Facts) -> bool:
    serving = sum(role == SERVER for role in facts.roles.values())
    return max(serving, len(facts.roles) - serving) > MAX_SINGLE


def _grow(name: str, depth: int, facts: _Facts, seen: set[str], bundle: bool) -> Node:
    seen.add(name)
    hosts = [host for host, switch in facts.network.hosts.items() if switch == name]
    children = [
        _grow(next_name, depth + 1, facts, seen, bundle)
        for next_name in facts.network.neighbours(name)
        if next_name not in seen
    ]
    return _switch(name, depth, [*_leaves(hosts, facts, depth, bundle), *children], facts)


def _switch(name: str, depth: int, children: list[Node], facts: _Facts) -> Node:
    node = Node(kind="switch", name=name, children=children, depth=depth, width=SWITCH_WIDTH)
    for child in children:
        node.flow.update(child.flow)
    node.height = max(SWITCH_HEIGHT, _stack(children, facts))
    return node


def _merged(facts: _Facts) -> list[Node]:
    """Too many switches to draw: one box for all that lead to servers, one for all others."""
    network = facts.network
    away = {host: switch for host, switch in network.hosts.items() if switch != network.balancer}
    serving = {switch for host, switch in away.items() if facts.roles[host] == SERVER}
    found = []
    for right in (False, True):
        names = [name for name in network.switches if name != network.balancer and (name in serving) == right]
        hosts = [host for host, switch in away.items() if (switch in serving) == right]
        if names:
            children = _leaves(hosts, facts, 1, bundle=True)
            found.append(_switch(f"{len(names)} switches", 1, children, facts))
    return found


def _leaves(hosts: list[str], facts: _Facts, depth: int, bundle: bool) -> list[Node]:
    nodes = []
    for role in ROLES:
        names = sorted((host for host in hosts if facts.roles[host] == role), key=natural)
        if bundle and len(names) > CHIP_COLUMNS:
            nodes.append(_bundle(tuple(names), role, facts, depth))
        else:
            nodes += [_host(name, role, facts, depth) for name in names]
    return nodes


def _host(name: str, role: str, facts: _Facts, depth: int) -> Node:
    flow = Counter(facts.flows.get(name, {}))
    return Node(kind="host", name=name, role=role, hosts=(name,), flow=flow, depth=depth + 1)


def _bundle(names: tuple[str, ...], role: str, facts: _Facts, depth: int) -> Node:
    node = Node(kind="bundle", name=f"{len(names)} {plural(role)}", role=role, hosts=names, depth=depth + 1)
    for name in names:
        node.flow.update(facts.flows.get(name, {}))
    rows = -(-len(names) // CHIP_COLUMNS) if len(names) <= MAX_CHIPS else 1
    node.width = CHIP_COLUMNS * CHIP_WIDTH + 2 * BUNDLE_PAD
    node.height = BUNDLE_HEAD + rows * CHIP_HEIGHT + BUNDLE_PAD
    return node


def plural(role: str) -> str:
    return "idle hosts" if role == IDLE else f"{role}s"


def _columns(root: Node, left: Sequence[Node], right: Sequence[Node]) -> tuple[float, tuple[int, int]]:
    """Sets every `x`; returns the picture's width and the number of switch columns on each side."""
    widths, depths = [], []
    for side in (left, right):
        widths.append(max((leaf.width for node in side for leaf in node.leaves()), default=0.0))
        depths.append(max((switch.depth for node in side for switch in node.switches()), default=0))
    reach = [width + (GAP if width else 0) + depth * COLUMN for width, depth in zip(widths, depths)]
    reach = [max(one, HOST_WIDTH / 2) for one in reach]  # the controller's box is wider than the switch
    root.x = MARGIN + reach[0] + root.width / 2
    total = root.x + root.width / 2 + reach[1] + MARGIN
    for side, sign, width, edge in ((left, -1, widths[0], 0.0), (right, 1, widths[1], total)):
        inner = edge - sign * (MARGIN + width)
        for node in side:
            _set_x(node, sign, root.x, inner)
    return total, (depths[0], depths[1])


def _set_x(node: Node, sign: int, middle: float, inner: float) -> None:
    """Switches by their depth, all else in line with its column's inner edge."""
    for switch in node.switches():
        switch.x = middle + sign * switch.depth * COLUMN
    for leaf in node.leaves():
        leaf.x = inner + sign * leaf.width / 2


def _rows(root: Node, left: Sequence[Node], right: Sequence[Node], services: int) -> float:
    """Sets every `y`; returns the picture's height."""
    heights = [_place_all(side, 0.0) for side in (left, right)]
    least = root.height + 2 * (10 + services * SERVICE_ROW)
    body = max(*heights, least)
    root.y = BODY_TOP + body / 2
    for side, height in zip((left, right), heights):
        for node in side:
            _shift(node, BODY_TOP + (body - height) / 2)
    return BODY_TOP + body + MARGIN


def _place_all(nodes: Sequence[Node], top: float) -> float:
    """Stack `nodes` from `top` down; returns where the last one's band ends."""
    for index, node in enumerate(nodes):
        if index and (node.kind != "host" or nodes[index - 1].kind != "host"):
            top += BAND_GAP
        top = _place(node, top)
    return top


def _place(node: Node, top: float) -> float:
    if node.kind == "host":
        node.y = top + HOST_ROW / 2
        return top + HOST_ROW
    bottom = _place_all(node.children, top) if node.children else top
    bottom = max(bottom, top + node.height + BAND_GAP)
    if node.children and bottom == top + node.height + BAND_GAP:  # children need less room than their switch
        used = node.children[-1].y + node.children[-1].height / 2 - (node.children[0].y - node.children[0].height / 2)
        slack = (bottom - top - used) / 2 - (node.children[0].y - node.children[0].height / 2 - top)
        for child in node.children:
            _shift(child, max(0.0, slack))
    node.y = (top + bottom) / 2
    return bottom


def _shift(node: Node, by: float) -> None:
    node.y += by
    for child in node.children:
        _shift(child, by)
