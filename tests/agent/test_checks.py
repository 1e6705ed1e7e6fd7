"""Networks and loads that make no sense are refused with a sentence that says where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab import wire
from lab.agent import checks
from lab.agent.refusal import Refusal

NETWORK = wire.default_network()
H1, H2 = NETWORK.hosts[:2]
S1 = NETWORK.switches[0]
S2, S3 = wire.Switch(name="s2", dpid=2), wire.Switch(name="s3", dpid=3)
LOAD = wire.Load(clients=("h3", "h4"), url="http://10.0.1.1/")
HOSTS = [host.name for host in NETWORK.hosts]


def test_the_tutorials_network_and_its_load_are_fine() -> None:
    checks.check_network(NETWORK)
    checks.check_load(LOAD, HOSTS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hosts": ()}, "at least one switch and one host"),
        ({"switches": ()}, "at least one switch and one host"),
        ({"hosts": (H1, replace(H2, name="h1"))}, "name h1 is there twice"),
        ({"hosts": (replace(H1, name="h1; reboot"),), "servers": ()}, "can't be a name"),
        ({"hosts": (replace(H1, name="agent"),), "servers": ()}, "can't be a name"),
        ({"hosts": (H1, replace(H2, ip=H1.ip))}, "IP address 10.0.0.1 is there twice"),
        (
            {"hosts": (replace(H1, ip6="fd00::1/64"), replace(H2, ip6="FD00:0::1/80"))},
            "IPv6 address fd00::1 is there twice",
        ),
        ({"hosts": (H1, replace(H2, mac=H1.mac.upper()))}, "MAC address 02:00:0a:00:00:01 is there twice"),
        ({"hosts": (replace(H1, ip="10.0.0.1"),)}, "lacks its prefix length"),
        ({"hosts": (replace(H1, ip="10.0.0.500/8"),)}, "no IPv4 address"),
        ({"hosts": (replace(H1, mac="01:00:5e:00:00:01"),)}, "no unicast MAC address"),
        ({"hosts": (replace(H1, switch="s9"),)}, "hangs on 's9', which is no switch; known: s1"),
        ({"switches": (replace(S1, dpid=0),)}, "dpid 0 is not between"),
        ({"switches": (S1, replace(S2, dpid=1))}, "dpid 1 is there twice"),
        ({"links": (("s1", "h1"),)}, "ends at 'h1', which is no switch"),
        ({"links": (("s1", "s1"),)}, "closes a loop"),
        ({"switches": (S1, S2, S3), "links": (("s1", "s2"), ("s2", "s3"), ("s3", "s1"))}, "s3-s1 closes a loop"),
        ({"servers": (wire.HttpServer(host="h9"),)}, "there is no host 'h9'"),
        (
            {"servers": (wire.HttpServer(host="h1"), wire.HttpServer(host="h1"))},
            "h1: tcp port 80 is there twice",
        ),
        ({"servers": (wire.HttpServer(host="h1", port=65_536),)}, "port is not between"),
        ({"servers": (wire.HttpServer(host="h1", kind="apache"),)}, "kind 'apache' is not known; known: python, nginx"),
        ({"servers": (wire.HttpServer(host="h1", kind="nginx", delay_ms=5),)}, "only kind python delays"),
        ({"servers": (wire.HttpServer(host="h1", log_hits=False),)}, "only kind nginx leaves its hits out"),
        ({"servers": (wire.HttpServer(host="h1", response_bytes=-1),)}, "response_bytes -1"),
        ({"servers": (wire.HttpServer(host="h1", protocol="sctp"),)}, "protocol 'sctp' is not known; known: tcp, udp"),
        ({"servers": (wire.HttpServer(host="h1", protocol="udp", response_bytes=1401),)}, "is not between 0 and 1400"),
        ({"servers": (wire.HttpServer(host="h1", last_port=79),)}, "a range has 1 to 64 ports"),
        ({"servers": (wire.HttpServer(host="h1", last_port=144),)}, "a range has 1 to 64 ports"),
        ({"servers": (wire.HttpServer(host="h1", last_port=90), wire.HttpServer(host="h1", port=90))}, "port 90 is"),
    ],
)
def test_a_wrong_network_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence) as refused:
        checks.check_network(replace(NETWORK, **changes))
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"clients": ()}, "at least one client"),
        ({"clients": ("h9",)}, "there is no host 'h9'; known: h1, h2"),
        ({"clients": ("h3", "h3")}, "client h3 is there twice"),
        ({"url": "https://10.0.1.1/"}, "is no URL"),
        ({"url": "10.0.1.1"}, "is no URL"),
        ({"url": "http:///x"}, "is no URL"),
        ({"url": "http://10.0.1.1:x/"}, "is no URL"),
        ({"url": "http://10.0.1.1/a\nb"}, "is no URL"),
        ({"url": "udp://10.0.1.1/"}, "is no URL"),
        ({"url": "udp://10.0.1.1:53/", "keepalive": True}, "keepalive says nothing over UDP"),
        ({"url": "http://10.0.1.1:81/", "last_port": 80}, "last_port 80 is not between"),
        ({"requests": 0}, "requests 0 is less than 1"),
        ({"requests": None}, "never end"),
        ({"concurrency": 0}, "concurrency 0 is not between"),
        ({"rate": 0.0}, "rate 0.0 is not greater"),
        ({"timeout_s": -1.0}, "timeout_s -1.0 is not greater"),
        ({"duration_s": float("nan")}, "duration_s nan is not greater"),
        ({"keepalive": True, "rate": 5.0}, "don't go together"),
        ({"keepalive": True, "requests": None, "duration_s": 1.0}, "concurrency of at least its 2 clients"),
    ],
)
def test_a_wrong_load_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence) as refused:
        checks.check_load(replace(LOAD, **changes), HOSTS)
    assert refused.value.status == 400


@pytest.mark.parametrize("argv", [None, [], "ls", ["ls", 1], ["ls\0"]])
def test_a_command_is_a_list_of_words(argv: object) -> None:
    with pytest.raises(Refusal):
        checks.check_argv(argv)
