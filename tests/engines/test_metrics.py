"""Metrics, read back by Prometheus' own parser."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import wire
from lab.engines.stock import stock_statistics
from lab.engines.switchboard import Switchboard

pytestmark = pytest.mark.sandbox  # the client library is the system Python's
SCRIPT = Path(__file__).with_name("metrics_of.py")
Samples = dict[tuple[str, frozenset[str]], float]


def parsed(statistics: object) -> dict[str, Any]:
    asked = json.dumps({"statistics": statistics})
    done = subprocess.run(["/usr/bin/python3", str(SCRIPT)], input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def samples(statistics: object) -> Samples:
    """By name and label values."""
    return {(name, frozenset(labels.values())): value for name, labels, value in parsed(statistics)["samples"]}


@pytest.fixture
def statistics(config: wire.Controller) -> dict[str, Any]:
    board = Switchboard(config)
    board.connected(1, 4, board, lambda raw: None)
    board.switch_error(1, 5, 1)
    board.operations()["pool_drain"](service="web", server="h2")
    board.packet_in(1, 1, 1, b"too short")
    said = board.statistics()
    said["services"]["web"]["servers"]["h1"].update(hits=20, live=3, state="up", available=True)
    return said


def test_every_family_has_a_good_name_a_type_and_a_help(statistics: dict[str, Any]) -> None:
    read = parsed(statistics)
    for name, (kind, about) in read["families"].items():
        assert re.fullmatch(r"balance_lab_[a-z_]+[a-z]", name)
        assert kind in ("counter", "gauge")
        assert about.endswith(".")
    counters = [name for name, (kind, _) in read["families"].items() if kind == "counter"]
    assert all(name.endswith("_total") == (name.removesuffix("_total") in counters) for name, _, _ in read["samples"])


def test_servers_are_told_apart_with_their_states(statistics: dict[str, Any]) -> None:
    found = samples(statistics)

    def of(name: str, *labels: str) -> float:
        return found[f"balance_lab_{name}", frozenset(labels)]

    assert of("server_connections_total", "web", "h1") == 20
    assert of("server_live_connections", "web", "h1") == 3
    assert [of("server_health", "web", "h1", state) for state in ("unknown", "up", "down")] == [0, 1, 0]
    assert [of("server_admin", "web", "h2", state) for state in ("ready", "draining", "maint")] == [0, 0, 1]
    assert [of("server_available", "web", name) for name in ("h1", "h2")] == [1, 0]
    assert of("server_probes_sent_total", "web", "h1") == 1
    assert [of("server_probes_total", "web", "h1", r) for r in ("answered", "failed", "late")] == [0, 0, 0]
    assert of("server_flaps_total", "web", "h1") == 0
    assert of("server_weight", "web", "h1") == 1


def test_live_connections_that_are_not_known_have_no_sample(config: wire.Controller) -> None:
    board = Switchboard(dataclasses.replace(config, mode="tracked"))
    names = {name for name, _ in samples(board.statistics())}
    assert "balance_lab_server_connections_total" in names
    assert "balance_lab_server_live_connections" not in names


def test_engine_is_counted_too(statistics: dict[str, Any]) -> None:
    found = samples(statistics)
    assert found["balance_lab_controller_up", frozenset()] == 1
    assert found["balance_lab_packet_ins_total", frozenset()] == 1
    assert found["balance_lab_flow_mods_total", frozenset()] == statistics["flow_mods_total"]
    assert found["balance_lab_drops_total", frozenset({"truncated"})] == 1
    assert found["balance_lab_switches_connected", frozenset()] == 1
    assert found["balance_lab_switch_errors_total", frozenset({"flow_mod_failed/table_full"})] == 1
    assert found["balance_lab_connection_table_entries", frozenset()] == 0


def test_dead_controller_has_one_sample() -> None:
    assert samples(None) == {("balance_lab_controller_up", frozenset()): 0}


def test_what_the_stock_component_does_not_tell_has_no_sample(config: wire.Controller) -> None:
    found = samples(stock_statistics(config, "INFO:iplb:Server 10.0.0.1 up"))
    assert found["balance_lab_server_health", frozenset({"web", "h1", "up"})] == 1
    assert not [name for name, _ in found if name in ("balance_lab_packet_ins_total", "balance_lab_server_weight")]


def test_odd_names_are_quoted(statistics: dict[str, Any]) -> None:
    statistics["services"]['a "b" \\ \n c'] = statistics["services"].pop("web")
    assert samples(statistics)["balance_lab_server_weight", frozenset({'a "b" \\ \n c', "h1"})] == 1
