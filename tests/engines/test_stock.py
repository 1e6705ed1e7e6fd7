"""POX's own balancer: how it is started, and what its log lets us know."""

from __future__ import annotations

import dataclasses

import pytest

from lab import wire
from lab.engines.stock import stock_arguments, stock_statistics

LOG = """\
INFO:core:POX 0.7.0 (gar) is up.
INFO:openflow.of_01:[00-00-00-00-00-01 1] connected
INFO:openflow.of_01:[00-00-00-00-00-1f 2] connected
INFO:iplb:IP Load Balancer Ready.
INFO:iplb:Load Balancing on [00-00-00-00-00-01 1]
INFO:iplb.00-00-00-00-00-01:Server 10.0.0.1 up
INFO:iplb.00-00-00-00-00-01:Server 10.0.0.2 up
WARNING:iplb.00-00-00-00-00-01:Server 10.0.0.1 down
"""


def test_arguments_are_the_tutorials(config: wire.Controller) -> None:
    assert stock_arguments(dataclasses.replace(config, dpid=None)) == [
        "misc.ip_loadbalancer",
        "--ip=10.0.1.1",
        "--servers=10.0.0.1,10.0.0.2",
    ]


def test_chosen_switch_is_named_and_left_out_of_learning(config: wire.Controller) -> None:
    assert stock_arguments(dataclasses.replace(config, dpid=0xA1F))[3:] == [
        "--dpid=00-00-00-00-0a-1f",
        "forwarding.l2_learning",
        "--ignore=00-00-00-00-0a-1f",
    ]


@pytest.mark.parametrize("services", [0, 2])
def test_other_than_one_service_is_refused(config: wire.Controller, services: int) -> None:
    with pytest.raises(ValueError, match="exactly one service"):
        stock_arguments(dataclasses.replace(config, services=config.services * services))


def test_states_and_switches_are_read_from_the_log(config: wire.Controller) -> None:
    said = stock_statistics(config, LOG)
    assert said["switches"] == [1, 31]
    assert said["services"]["web"]["servers"] == {
        "h1": {"state": "down", "hits": None},
        "h2": {"state": "up", "hits": None},
    }


def test_what_it_cannot_tell_is_none(config: wire.Controller) -> None:
    said = stock_statistics(config, "")
    counters = ("packet_ins", "flow_mods", "packet_ins_total", "flow_mods_total")
    assert [said[name] for name in counters] == [None] * 4
    assert said["services"]["web"]["servers"]["h1"] == {"state": "down", "hits": None}
    assert said["switches"] == []
