"""The picture of the network: whatever the network, boxes stay inside and apart, and every request is on its way."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import scenario

from lab.report.network import Network, read_network
from lab.report.topology import MAX_CHIPS, MAX_SWITCHES, Layout, Node, lay_out


@st.composite
def networks(draw: st.DrawFn) -> tuple[Network, list[str], list[str]]:
    """A tree of switches with hosts anywhere; some serve, some ask."""
    count = draw(st.integers(1, 9))
    links = [[f"s{draw(st.integers(1, i - 1))}", f"s{i}"] for i in range(2, count + 1)]
    places = draw(st.lists(st.integers(1, count), min_size=1, max_size=70))
    hosts = {f"h{i}": f"s{place}" for i, place in enumerate(places, 1)}
    roles = draw(st.lists(st.sampled_from("sc-"), min_size=len(hosts), max_size=len(hosts)))
    topology = {"switches": {f"s{i}": {} for i in range(1, count + 1)}, "links": links}
    plan = scenario(hosts, (), **topology, balancer=f"s{draw(st.integers(1, count))}")
    servers = [host for host, role in zip(hosts, roles) if role == "s"]
    return read_network(plan), servers, [host for host, role in zip(hosts, roles) if role == "c"]


def all_boxes(layout: Layout) -> list[Node]:
    return [*layout.root.switches(), *layout.root.leaves()]


def overlap(a: Node, b: Node) -> bool:
    return abs(a.x - b.x) < (a.width + b.width) / 2 - 0.01 and abs(a.y - b.y) < (a.height + b.height) / 2 - 0.01


@given(networks(), st.integers(0, 3))
def test_boxes_stay_inside_and_apart(made: tuple[Network, list[str], list[str]], asked: int) -> None:
    network, servers, clients = made
    pairs: dict[tuple[str, str | None], int] = {(c, s): asked for c in clients for s in servers if asked}
    layout = lay_out(network, servers, clients, pairs)
    boxes = all_boxes(layout)
    for box in boxes:
        assert box.width / 2 <= box.x <= layout.width - box.width / 2
        assert box.height / 2 <= box.y <= layout.height - box.height / 2
    for a, b in combinations(boxes, 2):
        assert not overlap(a, b), (a.name, b.name)
    assert sorted(host for leaf in layout.root.leaves() for host in leaf.hosts) == sorted(network.hosts)


def line(**topology: Any) -> Network:
    places = {"h1": "s3", "h2": "s3", "h3": "s1", "h4": "s2"}
    switches = {"s1": {"dpid": 1}, "s2": {"dpid": 2}, "s3": {"dpid": 3}}
    return read_network(
        scenario(places, switches=switches, links=[["s1", "s2"], ["s2", "s3"]], balancer="s2", **topology)
    )


def test_clients_stand_left_servers_right_and_flows_add_up() -> None:
    pairs = {("h3", "h1"): 3, ("h3", "h2"): 2, ("h3", None): 1, ("h4", "h1"): 4}
    layout = lay_out(line(), ["h1", "h2"], ["h3", "h4"], pairs)
    boxes = {box.name: box for box in all_boxes(layout)}
    assert boxes["h3"].x < boxes["s1"].x < boxes["s2"].x < boxes["s3"].x < boxes["h1"].x
    assert boxes["h4"].x < boxes["s2"].x
    assert boxes["s1"].flow == {"h1": 3, "h2": 2, None: 1}
    assert boxes["s3"].flow == {"h1": 7, "h2": 2}
    assert boxes["h1"].flow == {"h1": 7}


def test_loops_and_links_to_nowhere_end() -> None:
    plan = scenario(2, ("h1",), switches={"s1": {}, "s2": {}, "s3": {}})
    plan["topology"]["links"] = [["s1", "s2"], ["s2", "s3"], ["s3", "s1"], ["s1", "s1"], ["s1", "s9"]]
    layout = lay_out(read_network(plan), ["h1"], ["h2"], {})
    assert sorted(switch.name for switch in layout.root.switches()) == ["s1", "s2", "s3"]


def test_very_many_hosts_and_switches_become_few_boxes() -> None:
    plan = scenario(6, switches=1000)
    plan["topology"].update(kind="linear", depth=1000, hosts=1000, links=None)
    network = read_network(plan)
    assert len(network.switches) > MAX_SWITCHES
    layout = lay_out(network, ["h2", "h3"], [], {})
    boxes = all_boxes(layout)
    assert [box.name for box in boxes if box.kind == "switch"] == ["s1", "997 switches", "2 switches"]
    assert max(len(box.hosts) for box in boxes) > MAX_CHIPS
    assert layout.height < 500


@pytest.mark.parametrize(
    ("topology", "links"),
    [
        ({}, ()),
        ({"kind": "linear", "depth": 3}, (("s1", "s2"), ("s2", "s3"))),
        ({"kind": "linear", "switches": 2}, (("s1", "s2"),)),
        ({"kind": "tree", "depth": 2, "fanout": 3}, (("s1", "s2"), ("s1", "s3"), ("s1", "s4"))),
        ({"kind": "tree", "depth": 3, "fanout": 2}, tuple((f"s{i // 2}", f"s{i}") for i in range(2, 8))),
        ({"switches": {"s1": None, "s2": None}, "links": [["s1", "s2"]]}, (("s1", "s2"),)),
    ],
)
def test_links_are_those_of_the_scenario(topology: dict[str, Any], links: tuple[tuple[str, str], ...]) -> None:
    network = read_network({"topology": topology})
    assert network.links == links
    assert set(network.switches) == {end for link in links for end in link} | {"s1"}
    assert len(network.hosts) == 6
