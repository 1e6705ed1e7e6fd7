"""The switch tree: what is filled in, and which port of the balancing switch leads where."""

from __future__ import annotations

from ipaddress import IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.driver.scenario_model import Topology
from lab.driver.topology import branches, complete, host_number_ip, mac_of, named_hosts, tree_size


def made(**keys: object) -> Topology:
    return complete(Topology.model_validate(keys))


def switches_of_hosts(topology: Topology) -> list[str | None]:
    return [host.switch for host in named_hosts(topology).values()]


def test_a_tree_has_its_hosts_on_the_leaves_in_turn() -> None:
    tree = made(kind="tree", depth=3, balancer="s1")
    assert list(tree.switches or {}) == [f"s{n}" for n in range(1, 8)]  # type: ignore[arg-type]
    assert tree.links == [["s1", "s2"], ["s1", "s3"], ["s2", "s4"], ["s2", "s5"], ["s3", "s6"], ["s3", "s7"]]
    assert switches_of_hosts(tree) == ["s4", "s5", "s6", "s7", "s4", "s5"]


def test_a_line_has_its_hosts_on_every_switch_in_turn() -> None:
    line = made(kind="linear", switches=3, hosts=4, balancer="s2")
    assert line.links == [["s1", "s2"], ["s2", "s3"]]
    assert switches_of_hosts(line) == ["s1", "s2", "s3", "s1"]


def test_with_listed_links_hosts_hang_on_the_first_switch_or_as_named() -> None:
    listed = made(switches=2, links=[["s1", "s2"]], hosts={"h1": None, "h2": {"switch": "s2"}})
    assert switches_of_hosts(listed) == ["s1", "s2"]


def test_a_line_can_be_told_by_its_depth() -> None:
    assert made(kind="linear", depth=3).links == made(kind="linear", switches=3).links


@pytest.mark.parametrize(("depth", "fanout", "size"), [(1, 9, 1), (3, 2, 7), (5, 1, 5), (2, 999, 1000)])
def test_size_of_a_tree(depth: int, fanout: int, size: int) -> None:
    assert tree_size(depth, fanout) == size
    assert len(made(kind="tree", depth=depth, fanout=fanout).switches) == size  # type: ignore[arg-type]


def test_counting_a_monstrous_tree_stops() -> None:
    assert 1000 < tree_size(1000, 1000) < 10_000_000


def test_names_with_a_number_keep_it_and_others_take_what_is_left() -> None:
    hosts = named_hosts(made(hosts={"web": None, "h1": None, "h3": None, "db": {"ip": "10.0.0.2/8"}, "x": None}))
    assert [host.ip for host in hosts.values()] == [f"10.0.0.{n}/8" for n in (4, 1, 3, 2, 5)]
    switches = made(switches={"core": None, "s1": None, "s5": {"dpid": 2}}).switches
    assert [switch.dpid for switch in switches.values()] == [3, 1, 2]  # type: ignore[union-attr]


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_every_host_has_addresses_of_its_own_and_leaves_the_services_theirs(one: int, other: int) -> None:
    ips = [host_number_ip(number) for number in (one, other)]
    assert (ips[0] == ips[1]) == (one == other) == (mac_of(ips[0]) == mac_of(ips[1]))
    assert not ips[0].startswith("10.0.1.")
    assert IPv4Interface(f"{ips[0]}/8").ip.packed[3] not in (0, 255)


def test_the_first_254_addresses_are_the_tutorials() -> None:
    assert [host_number_ip(number) for number in (1, 254, 255)] == ["10.0.0.1", "10.0.0.254", "10.0.2.1"]
    assert mac_of("10.0.0.1/8") == "02:00:0a:00:00:01"


def test_a_branch_is_the_balancers_port_towards_a_host() -> None:
    tree = made(kind="tree", depth=3, balancer="s2", hosts={"h1": {"switch": "s7"}, "h2": {"switch": "s2"}, "h3": {"switch": "s4"}, "h4": {"switch": "s3"}, "h5": {"switch": "s2"}})  # fmt: skip # noqa: E501
    assert branches(tree) == {"h1": "s1", "h2": "h2", "h3": "s4", "h4": "s1", "h5": "h5"}


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4))
def test_completing_what_is_complete_changes_nothing(hosts: int, depth: int, fanout: int) -> None:
    once = made(kind="tree", depth=depth, fanout=fanout, hosts=hosts, balancer="s1")
    assert complete(once) == once
