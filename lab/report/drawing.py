"""The network as a picture: boxes and strands. A strand's width is its number of requests, its colour the server that
answered, from client to switch to server; a strand that no server answered is dashed and ends at the balancing switch.

Rule: numbers are written beside the lines; width and colour only repeat them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from lab.report.data import Run, number
from lab.report.summary import Summary
from lab.report.svg import el, label, num, picture, short
from lab.report.topology import (
    BUNDLE_HEAD,
    BUNDLE_PAD,
    CHIP_COLUMNS,
    CHIP_HEIGHT,
    CHIP_WIDTH,
    COLUMN,
    CONTROLLER_BOTTOM,
    MAX_CHIPS,
    SERVER,
    SERVICE_ROW,
    STRAIGHT,
    SWITCH_WIDTH,
    Layout,
    Node,
    bundle_width,
    lay_out,
    plural,
    strand_width,
)

THIN_SPACE: Final = "\N{NARROW NO-BREAK SPACE}"
MAX_SERVICES: Final = 4  # named below the switch
MAX_CONTROL_LINES: Final = 12
STRAND_GAP: Final = 3.0  # between the links that end at one side of a switch


def network_picture(run: Run, summary: Summary) -> Markup | None:
    """None where the scenario tells no network."""
    if run.network is None:
        return None
    servers = [*(row.name for row in summary.servers), *(name for service in run.services for name in service.servers)]
    layout = lay_out(run.network, servers, run.clients, summary.pairs, min(len(run.services), MAX_SERVICES))
    parts = [
        *_control_lines(layout),
        *_links(layout, summary),
        *(box for node in layout.root.switches() for box in _switch(node, run, layout)),
        *(box for node in layout.root.leaves() for box in _leaf(node, run, summary, layout)),
        *_services(layout, run),
        *_controller(layout, run),
    ]
    desc = _describe(layout, summary)
    return picture("network", layout.width, layout.height, "The network and the way of the requests", desc, *parts)


def _describe(layout: Layout, summary: Summary) -> str:
    served = ", ".join(f"{row.name} {row.client_hits or 0}" for row in summary.servers)
    count = sum(1 for _ in layout.root.switches())
    return f"{len(layout.roles)} hosts, {count} switches; {layout.root.name} balances. Requests by server: {served}."


# --- lines -----------------------------------------------------------------------------------------------------------


def _control_lines(layout: Layout) -> Iterator[Markup]:
    switches = list(layout.root.switches())[:MAX_CONTROL_LINES]
    x, y = layout.root.x, CONTROLLER_BOTTOM
    for switch in switches:
        top = switch.y - switch.height / 2
        bend = f"C{num(x)} {num(y + 30)} {num(switch.x)} {num(y)} {num(switch.x)} {num(min(top, y + 40))}"
        d = f"M{num(x)} {num(y)}" + (bend if switch is not layout.root else "") + f"L{num(switch.x)} {num(top)}"
        yield el("path", el("title", f"OpenFlow to {switch.name}"), d=d, class_="control")


def _links(layout: Layout, summary: Summary) -> Iterator[Markup]:
    """All strands, then all numbers: none is painted over."""
    drawn = [
        link
        for side, sign, depth in ((layout.left, -1, layout.left_depth), (layout.right, 1, layout.right_depth))
        for link in _links_of(layout.root, side, sign, depth, layout, summary)
    ]
    yield from (strands for strands, _ in drawn)
    yield from (count for _, count in drawn if count)


def _links_of(
    parent: Node, children: Sequence[Node], sign: int, depth: int, layout: Layout, summary: Summary
) -> Iterator[tuple[Markup, Markup]]:
    widths = [bundle_width(child, layout.total) for child in children]
    y = parent.y - (sum(widths) + STRAND_GAP * (len(widths) - 1)) / 2
    for child, width in zip(children, widths):
        bend = _bend(child, parent, sign, depth, layout)
        yield _link(child, parent, y + width / 2, bend, sign, layout, summary), _count(child, parent, sign)
        y += width + STRAND_GAP
        yield from _links_of(child, child.children, sign, depth, layout, summary)


def _bend(child: Node, parent: Node, sign: int, depth: int, layout: Layout) -> float:
    """Where a link leaves the straight: past its number, and past the columns of switches that it doesn't touch."""
    start = child.x - sign * child.width / 2
    if child.kind == "switch":
        return start
    if parent.depth < depth:
        return layout.root.x + sign * ((parent.depth + 1) * COLUMN - SWITCH_WIDTH / 2)
    return start - sign * STRAIGHT


def _link(
    child: Node, parent: Node, parent_y: float, bend: float, sign: int, layout: Layout, summary: Summary
) -> Markup:
    """From a box to the switch it hangs on: straight, then in a curve."""
    start = child.x - sign * child.width / 2
    end = parent.x + sign * parent.width / 2
    offset = -bundle_width(child, layout.total) / 2
    parts: list[Markup] = [el("title", f"{child.name} to {parent.name}: {_flow_words(child)}")]
    for server, count in sorted(child.flow.items(), key=lambda item: _order(summary, item[0])) or [(None, 0)]:
        width = strand_width(count, layout.total)
        offset += width / 2
        d = _way(start, child.y + offset, bend, end, parent_y + offset)
        parts.append(el("path", d=d, class_=_strand_class(summary, server, count), stroke_width=width))
        offset += width / 2
    return el("g", *parts, class_="link")


def _order(summary: Summary, server: str | None) -> tuple[int, str]:
    return (99 if server is None else summary.colour(server), server or "")


def _way(start: float, y0: float, bend: float, end: float, y1: float) -> str:
    middle = num((bend + end) / 2)
    straight = f"H{num(bend)}" if bend != start else ""
    return f"M{num(start)} {num(y0)}{straight}C{middle} {num(y0)} {middle} {num(y1)} {num(end)} {num(y1)}"


def _strand_class(summary: Summary, server: str | None, count: int) -> str:
    if not count:
        return "strand idle"
    return "strand lost" if server is None else f"strand s{summary.colour(server)}"


def _flow_words(node: Node) -> str:
    words = [f"{count} answered by {server}" for server, count in node.flow.items() if server is not None]
    if node.flow.get(None):
        words.append(f"{node.flow[None]} not answered")
    return ", ".join(words[:8]) or "no requests"


def _count(child: Node, parent: Node, sign: int) -> Markup:
    """The number of requests, on the line; nothing where there were none."""
    total = child.flow.total()
    if not total:
        return Markup()
    x = child.x - sign * (child.width / 2 + 26)
    words = label(x, child.y + 4, f"{total:,}".replace(",", THIN_SPACE), "t count")
    return el("g", words, class_="count-of", data_from=child.name, data_to=parent.name)


# --- boxes -----------------------------------------------------------------------------------------------------------


def _box(node: Node, class_: str) -> Markup:
    x, y = node.x - node.width / 2, node.y - node.height / 2
    return el("rect", x=x, y=y, width=node.width, height=node.height, rx=8, class_=class_)


def _switch(node: Node, run: Run, layout: Layout) -> Iterator[Markup]:
    network = run.network
    dpid = network.switches.get(node.name) if network else None
    balances = node is layout.root
    yield _box(node, "box balancer" if balances else "box")
    lines = [(short(node.name), "t strong")]
    if balances:
        lines.append(("balances", "t accent"))
    elif dpid is not None:
        lines.append(("forwards", "t muted"))
    if dpid is not None:
        lines.append((short(f"dpid {dpid}", 17), "t muted small"))
    top = node.y - (len(lines) - 1) * 9 + 4
    yield el("g", *(label(node.x, top + 18 * index, words, kind) for index, (words, kind) in enumerate(lines)))


def _leaf(node: Node, run: Run, summary: Summary, layout: Layout) -> Iterator[Markup]:
    yield from _bundle(node, summary, layout) if node.kind == "bundle" else _host(node, run, summary)


def _host(node: Node, run: Run, summary: Summary) -> Iterator[Markup]:
    left, top = node.x - node.width / 2, node.y - node.height / 2
    ip = run.network.ips.get(node.name, "") if run.network else ""
    parts = [el("title", f"{node.name} {ip}, {node.role}"), _box(node, f"box {node.role}")]
    if node.role == SERVER:
        swatch = f"fill s{summary.colour(node.name)}"
        parts.append(el("rect", x=left + 5, y=top + 5, width=6, height=node.height - 10, rx=3, class_=swatch))
    indent = 20 if node.role == SERVER else 12
    parts.append(label(left + indent, node.y + 4, short(node.name, 9), "t strong", "start"))
    parts.append(label(left + node.width - 10, node.y + 4, short(ip, 15), "t muted small", "end"))
    yield el("g", *parts, class_="host")


def _bundle(node: Node, summary: Summary, layout: Layout) -> Iterator[Markup]:
    left, top = node.x - node.width / 2, node.y - node.height / 2
    counts = [layout.flows[host].total() if host in layout.flows else 0 for host in node.hosts]
    each = _each(counts)
    yield _box(node, f"box {node.role}")
    yield label(left + 12, top + 20, f"{len(node.hosts)} {plural(node.role)}", "t strong", "start")
    if len(node.hosts) <= MAX_CHIPS:
        yield label(left + node.width - 12, top + 20, each, "t muted small", "end")
        for index, (host, count) in enumerate(zip(node.hosts, counts)):
            x = left + BUNDLE_PAD + index % CHIP_COLUMNS * CHIP_WIDTH
            yield _chip(host, count, x, top + BUNDLE_HEAD + index // CHIP_COLUMNS * CHIP_HEIGHT, node, summary)
    else:
        yield label(
            left + 12,
            top + BUNDLE_HEAD + 14,
            f"{short(node.hosts[0])} … {short(node.hosts[-1])}, {each}",
            "t muted",
            "start",
        )


def _each(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    if not high:
        return "no requests"
    return f"{low} requests each" if low == high else f"{low}\N{EN DASH}{high} requests each"


def _chip(host: str, count: int, x: float, y: float, node: Node, summary: Summary) -> Markup:
    parts = [
        el("title", f"{host}: {count} requests"),
        el("rect", x=x + 2, y=y + 2, width=CHIP_WIDTH - 4, height=CHIP_HEIGHT - 4, rx=4, class_="chip"),
        label(x + 10 + (8 if node.role == SERVER else 0), y + 17, short(host, 6), "t small", "start"),
    ]
    if node.role == SERVER:
        swatch = f"fill s{summary.colour(host)}"
        parts.append(el("rect", x=x + 6, y=y + 6, width=5, height=CHIP_HEIGHT - 12, rx=2, class_=swatch))
    if count:
        parts.append(label(x + CHIP_WIDTH - 8, y + 17, count, "t small strong", "end"))
    return el("g", *parts, class_="host")


def _services(layout: Layout, run: Run) -> Iterator[Markup]:
    x, y = layout.root.x, layout.root.y + layout.root.height / 2 + 8
    more = len(run.services) - MAX_SERVICES
    for index, service in enumerate(run.services[:MAX_SERVICES]):
        words = f"{short(service.name, 8)} {service.address}"
        if more > 0 and index == MAX_SERVICES - 1:
            words = f"and {more + 1} more services"
        width = 7 * len(words) + 18
        top = y + index * SERVICE_ROW
        yield el("rect", x=x - width / 2, y=top, width=width, height=SERVICE_ROW - 4, rx=10, class_="service")
        yield label(x, top + 14, words, "t small service-text")


def _controller(layout: Layout, run: Run) -> Iterator[Markup]:
    x, width = layout.root.x, 216.0
    yield el("rect", x=x - width / 2, y=10, width=width, height=CONTROLLER_BOTTOM - 10, rx=8, class_="box")
    setup = " · ".join(short(word, 12) for word in (run.result.engine, run.result.mode) if word)
    yield label(x, 32, "controller" + (f": {setup}" if setup else ""), "t strong")
    figures = [
        f"{value:g} {words}"
        for key, words in (("packet_ins", "packet-ins"), ("flow_mods", "flow-mods"))
        if (value := number(run.result.controller, key)) is not None
    ]
    yield label(x, 52, " · ".join(figures) or "no figures", "t muted small")
