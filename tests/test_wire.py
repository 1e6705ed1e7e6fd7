"""Messages survive the way there and back, and what is wrong in one is told with its place."""

from __future__ import annotations

import json

import pytest

from lab import wire
from lab.wire_bench import Connections, Figures, Wrk, targets


def figures() -> Figures:
    wrk = Wrk(connections=1, seconds=1.0, socket_errors=0, timeouts=0, bad_status=0, answer_ms=(0.5,))
    return Figures(
        wrk={"h3": wrk},
        whole_ms=(1.0,),
        sample_errors=0,
        accepted={"h1": 1},
        kernel={"h3": {"TCPSynRetrans": 2}},
        time_wait={"h3": 3},
        ports=64_512,
        cpu_s={"ovs-vswitchd": 0.1},
        memory_peak_mb={},
        rules=(1, 2, 1),
        settled_s=0.0,
    )


def test_figures_with_mappings_survive_the_way_there_and_back() -> None:
    assert wire.decode(Figures, json.loads(json.dumps(wire.encode(figures())))) == figures()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"accepted": [1]}, r"Figures\.accepted: expected an object, got \[1\]"),
        ({"kernel": {"h3": {"TCPSynRetrans": "2"}}}, r"Figures\.kernel\.h3\.TCPSynRetrans: expected int, got '2'"),
        ({"rules": [1, 2]}, r"Figures\.rules: expected 3 items, got 2"),
    ],
)
def test_a_wrong_mapping_is_told_with_its_place(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(wire.WireError, match=sentence):
        wire.decode(Figures, {**wire.encode(figures()), **change})


def test_addresses_are_dealt_to_clients_in_turn() -> None:
    wanted = Connections(clients=("h3", "h4", "h5"), ips=("10.0.0.1", "10.0.0.2"), port=80)
    assert targets(wanted) == {"h3": "10.0.0.1", "h4": "10.0.0.2", "h5": "10.0.0.1"}
