"""The agent for real: Mininet and Open vSwitch in private namespaces, a stand-in for the controller."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from agent_rig import HERE, Door, wait_until

from lab import wire
from lab.agent import privileges
from lab.agent.servers import PYTHON
from lab.driver.backends.sandbox import SandboxBackend

pytestmark = pytest.mark.sandbox
SWITCHES = (wire.Switch(name="s1", dpid=1), wire.Switch(name="s2", dpid=0x2A))
HOSTS = tuple(replace(host, switch="s2" if host.name > "h4" else "s1") for host in wire.default_network().hosts)
SERVERS = (
    wire.HttpServer(host="h1", response_bytes=3000),
    wire.HttpServer(host="h2", kind="nginx", response_bytes=3000),
    wire.HttpServer(host="h5", port=8080),
)
NETWORK = wire.Network(switches=SWITCHES, hosts=HOSTS, links=(("s1", "s2"),), servers=SERVERS)


@pytest.fixture(scope="module")
def agent() -> Iterator[Door]:
    """An agent in a sandbox. Each test finds and leaves it without a network."""
    # by its text, not its path: the sandbox has a /tmp of its own, and the checkout may lie in /tmp
    backend = SandboxBackend(supervisor=[PYTHON, "-c", (HERE / "fake_controller.py").read_text()])
    lab = backend.up(f"agent-test-{os.getpid()}", None, keep=False)
    door = Door(lab.url, lab.token)
    yield door
    door.close()
    lab.down()


@pytest.fixture
def network(agent: Door) -> Iterator[Door]:
    """NETWORK, connected, its switches switching like any other."""
    answer = agent.ask("PUT", "/network", wire.encode(NETWORK))
    assert answer.status_code == 200, answer.text
    assert agent.ask("POST", "/network/connect").status_code == 200
    for switch in SWITCHES:
        run(agent, "agent", "ovs-ofctl", "add-flow", switch.name, "actions=normal")
    yield agent
    assert agent.ask("DELETE", "/network").status_code == 200


def test_building_tells_whether_the_switches_can_track_connections(agent: Door) -> None:
    try:
        answer = agent.ask("PUT", "/network", wire.encode(NETWORK)).json()
        said = run(agent, "agent", "ovs-appctl", "dpif/show-dp-features", "s2")
        assert answer["hash"] is ("Max dp_hash algorithm: 0\n" not in said)
        assert answer["tracker"] is ("CT state: Yes\n" in said and "CT state NAT: Yes\n" in said)
    finally:
        agent.ask("DELETE", "/network")


def run(agent: Door, host: str, *argv: str) -> str:
    result = agent.ask("POST", "/exec", {"host": host, "argv": list(argv)}).json()
    assert result["exit_code"] == 0, result
    return str(result["stdout"])


def hit_counts(agent: Door) -> dict[str, int]:
    return {host: len(hits) for host, hits in agent.ask("GET", "/hits").json().items()}


def pings(agent: Door) -> wire.Pings:
    return wire.decode(wire.Pings, agent.ask("POST", "/pingall").json())


def test_every_host_reaches_every_other(network: Door) -> None:
    assert pings(network) == wire.Pings(sent=30, received=30)


def test_d34_switch_without_the_controllers_openflow_is_told_at_once(network: Door) -> None:
    """POX says nothing, and the switch goes on trying. The stand-in speaks OpenFlow 1.3."""
    run(network, "agent", "ovs-vsctl", "set", "Bridge", "s2", "protocols=OpenFlow14")
    asked = time.monotonic()
    answer = network.ask("POST", "/network/connect")
    assert answer.status_code == 504
    assert "s2 can't use this controller: it speaks OpenFlow 1.4, the controller 1.3 and earlier; let it" in answer.text
    assert time.monotonic() - asked < 2
    run(network, "agent", "ovs-vsctl", "set", "Bridge", "s2", "protocols=[]")
    assert network.ask("POST", "/network/connect").status_code == 200


def test_d16_switches_are_controlled_out_of_band(network: Door) -> None:
    """In-band control takes what is sent to the bridge's own MAC: no server ever comes up."""
    for switch in SWITCHES:
        assert "true" in run(
            network, "agent", "ovs-vsctl", "get", "Bridge", switch.name, "other_config:disable-in-band"
        )


def test_hosts_have_the_addresses_asked_for_and_no_offload(network: Door) -> None:
    link = run(network, "h3", "ip", "address", "show", "dev", "h3-eth0")
    assert "inet 10.0.0.3/8" in link
    assert "02:00:0a:00:00:03" in link
    features = run(network, "h3", "ethtool", "--show-offload", "h3-eth0")
    assert "rx-checksumming: off" in features
    assert "tx-checksumming: off" in features


def test_hosts_and_switches_give_themselves_no_ipv6_address_and_so_tell_nobody_of_one(network: Door) -> None:
    """Among hundreds of hosts that kept the switch busy for seconds, and servers were held for down meanwhile."""
    assert "inet6" not in run(network, "h3", "ip", "address", "show", "dev", "h3-eth0")
    assert "inet6" not in run(network, "agent", "ip", "address", "show", "dev", "s1-eth3")
    sent = dict(line.split() for line in run(network, "h3", "cat", "/proc/self/net/snmp6").splitlines())
    assert sent.get("Icmp6OutMsgs", "0") == "0"


def test_switches_have_the_dpids_asked_for_and_hosts_the_first_ports(network: Door) -> None:
    shown = run(network, "agent", "ovs-ofctl", "show", "s2")
    assert "dpid:000000000000002a" in shown
    ports = {"h1": 1, "h2": 2, "h3": 3, "h4": 4}
    found = {
        host: f" {port}(s1-eth{port})" in run(network, "s1", "ovs-ofctl", "show", "s1") for host, port in ports.items()
    }
    assert found == dict.fromkeys(ports, True)


@pytest.mark.parametrize("server", ["h1", "h2"])
@pytest.mark.parametrize("keepalive", [False, True])
def test_both_ends_count_the_same_whatever_serves(network: Door, server: str, keepalive: bool) -> None:
    url = f"http://10.0.0.{server[1]}/"
    load = wire.Load(clients=("h3", "h6"), url=url, requests=30, concurrency=4, keepalive=keepalive)
    *found, end = network.load(load)
    hits = network.ask("GET", "/hits").json()[server]
    assert (end["sent"], len(hits)) == (30, 30)
    assert {line["server"] for line in found} == {server}
    assert sorted(hit["client_port"] for hit in hits) == sorted(line["local_port"] for line in found)
    assert {hit["client_ip"] for hit in hits} == {"10.0.0.3", "10.0.0.6"}
    network.ask("DELETE", "/hits")
    assert hit_counts(network) == {"h1": 0, "h2": 0, "h5": 0}


def test_a_link_that_is_down_carries_nothing_until_it_is_up(network: Door) -> None:
    def answered() -> bool:
        load = wire.Load(clients=("h3",), url="http://10.0.0.1/", requests=1, timeout_s=0.5)
        return network.load(load)[0]["error"] is None

    assert answered()
    assert network.ask("POST", "/link", {"host": "h1", "state": "down"}).status_code == 200
    assert not answered()
    assert network.ask("POST", "/link", {"host": "h1", "state": "up"}).status_code == 200
    wait_until(answered, "h1 to be back")


def test_a_link_between_switches_parts_their_hosts(network: Door) -> None:
    def link(state: str) -> None:
        assert network.ask("POST", "/link", {"between": ["s2", "s1"], "state": state}).status_code == 200

    link("down")
    found = pings(network)
    assert found.received == 4 * 3 + 2 * 1  # h1-h4 among themselves, h5 and h6
    assert all((one in ("h5", "h6")) != (other in ("h5", "h6")) for one, other in found.failed)
    link("up")
    wait_until(lambda: pings(network).loss_percent == 0, "all to be back", 30)


@pytest.mark.parametrize("between", [["h1", "h2"], ["h1", "s2"]])
def test_a_link_that_is_not_there_is_refused(network: Door, between: list[str]) -> None:
    answer = network.ask("POST", "/link", {"between": between, "state": "down"})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": f"there is no link between {between[0]} and {between[1]}"},
    )


def test_a_switch_knows_whether_it_is_connected(network: Door) -> None:
    assert network.ask("GET", "/network").json()["connected"] == {"s1": True, "s2": True}
    run(network, "agent", "ovs-vsctl", "set-controller", "s2", "tcp:127.0.0.1:1")
    wait_until(lambda: network.ask("GET", "/network").json()["connected"] == {"s1": True, "s2": False}, "s2 to lose it")


def test_a_controller_that_comes_late_is_found_and_seen(network: Door) -> None:
    port = "6634"
    late = (
        f"import socket, time; c = socket.create_server(('127.0.0.1', {port})).accept()[0]; "
        "c.sendall(bytes([4, 0, 0, 8, 0, 0, 0, 1])); time.sleep(60)"
    )
    run(network, "agent", "ovs-vsctl", "set-controller", "s1", f"tcp:127.0.0.1:{port}")
    wait_until(lambda: not network.ask("GET", "/network").json()["connected"]["s1"], "s1 to lose its controller")
    run(network, "agent", "sh", "-c", f'{PYTHON} -c "{late}" >/dev/null 2>&1 &')
    wait_until(lambda: network.ask("GET", "/network").json()["connected"]["s1"], "s1 to find the other one")


def test_switches_that_are_restarted_lose_their_rules_and_find_the_controller(network: Door) -> None:
    assert "NORMAL" in network.ask("GET", "/flows").text
    assert network.ask("POST", "/switch/restart").status_code == 200
    assert "NORMAL" not in network.ask("GET", "/flows").text
    wait_until(lambda: all(network.ask("GET", "/network").json()["connected"].values()), "the switches to be connected")
    for switch in SWITCHES:
        run(network, "agent", "ovs-ofctl", "add-flow", switch.name, "actions=normal")
    assert pings(network).loss_percent == 0  # their ports are back


def test_a_flood_reaches_its_target_whole_from_a_network_that_is_nobodys(network: Door) -> None:
    """A rule counts and drops them, so that nobody answers."""
    wanted = "tcp,nw_src=198.18.0.0/15,nw_dst=10.0.0.1,tp_dst=80,tcp_flags=+syn-ack"
    run(network, "agent", "ovs-ofctl", "add-flow", "s1", f"priority=40000,{wanted},actions=drop")
    body = wire.encode(wire.Flood(host="h3", ip="10.0.0.1", syns=2000, seconds=0.5))
    begun = time.monotonic()
    answer = network.ask("POST", "/flood", body)
    assert answer.json()["sent"] == 2000, answer.text
    assert time.monotonic() - begun > 0.45
    wait_until(lambda: "n_packets=2000" in network.ask("GET", "/flows").text, "all SYNs to be counted")


def test_a_flood_of_nobody_is_a_sentence(network: Door) -> None:
    answer = network.ask("POST", "/flood", wire.encode(wire.Flood(host="h3", ip="10.0.9.9", syns=10, seconds=0.1)))
    assert answer.status_code == 500
    assert "nobody answers ARP for 10.0.9.9" in answer.json()["error"]


def test_two_hundred_downloads_at_a_time_are_all_answered(network: Door) -> None:
    url = "http://10.0.0.1/slow?seconds=2&bytes=10000"
    clients = ("h3", "h4", "h5", "h6")
    *found, end = network.load(wire.Load(clients=clients, url=url, requests=200, concurrency=200, timeout_s=15))
    assert end["sent"] == 200
    assert [line["error"] for line in found if line["error"]] == []
    assert hit_counts(network)["h1"] == 200


def test_flows_are_shown_under_their_switch(network: Door) -> None:
    one, two = network.ask("GET", "/flows").text.split("# s2\n")
    assert one.startswith("# s1\n")
    assert "actions=NORMAL" in one
    assert "actions=NORMAL" in two


def test_another_network_with_the_same_names_can_follow_at_once(agent: Door) -> None:
    for _ in range(2):
        begun = time.monotonic()
        assert agent.ask("PUT", "/network", wire.encode(wire.default_network())).status_code == 200
        assert time.monotonic() - begun < 5
        assert agent.ask("GET", "/network").json()["connected"] == {"s1": False}
        assert agent.ask("DELETE", "/network").status_code == 200
    assert run(agent, "agent", "ip", "-o", "link", "show", "type", "veth") == ""
    assert run(agent, "agent", "ovs-vsctl", "list-br") == ""


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [("GET", "/controller/log", 200, None), ("POST", "/controller/kill?status=409", 409, {"signal": "KILL"})],
)
def test_what_is_the_controllers_is_handed_on_word_for_word(
    agent: Door, method: str, path: str, status: int, body: Any
) -> None:
    answer = agent.ask(method, path, body)
    said = answer.json()
    assert answer.status_code == status
    assert (said["method"], said["path"], said["token"]) == (method, path, True)
    assert said["body"] == ('{"signal": "KILL"}' if body else "")


def test_the_lab_command_works_beside_the_agent(network: Door) -> None:
    command = [PYTHON, "-m", "lab.agent.cli"]
    assert "10.0.0.1/8" in run(network, "agent", *command, "h1", "ip", "address")
    assert "h2" in run(network, "agent", *command, "hits")
    assert "s2  dpid 42  connected" in run(network, "agent", *command, "status")
    wrong = network.ask("POST", "/exec", {"host": "agent", "argv": [*command, "h9", "ls"]}).json()
    assert wrong["exit_code"] == 3
    assert "no node 'h9'" in wrong["stderr"]


def test_web_servers_and_clients_are_nobody_where_the_sandbox_has_such_a_user(network: Door) -> None:
    slow = wire.Load(clients=("h3",), url="http://10.0.0.1/slow?seconds=1", requests=1)
    with ThreadPoolExecutor() as pool:
        load = pool.submit(network.load, slow)
        wait_until(lambda: "curl" in run(network, "agent", "ps", "-eo", "args"), "curl to run")
        processes = [line.split(maxsplit=1) for line in run(network, "agent", "ps", "-eo", "uid,args").splitlines()]
        assert load.result()[0]["error"] is None
    users = [uid for uid, words in processes if re.search(r"/(web_server\.py|nginx|curl) ", words)]
    assert users == [str(privileges.NOBODY if os.geteuid() == 0 else 0)] * 4  # three servers, and the curl
