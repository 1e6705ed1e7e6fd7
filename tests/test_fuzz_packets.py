"""Damaged packets break neither the parser nor the balancer; and tools/fuzz_packets.py finds and tells what would.

This is its short run; long ones are made by hand."""

from __future__ import annotations

import dataclasses
import random
import sys
from itertools import islice

import pytest

from lab.balancer import packets
from lab.balancer.balancer import Balancer
from lab.balancer.connections import Connections
from lab.balancer.packets import Packet
from tools import fuzz_packets

Run = pytest.CaptureFixture[str]


def fuzz(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fuzz_packets.py", *options])
    return fuzz_packets.main()


@pytest.mark.parametrize(
    "options",
    [
        ("--inputs", "12000"),
        ("--target", "balancer", "--mode", "reactive", "--inputs", "6000"),
        ("--target", "balancer", "--mode", "tracked", "--inputs", "6000"),
        ("--target", "balancer", "--mode", "proactive", "--inputs", "6000"),
    ],
    ids=["parser", "reactive", "tracked", "proactive"],
)
def test_damaged_packets_break_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Run, options: tuple[str, ...]) -> None:
    code = fuzz(monkeypatch, *options, "--seed", str(random.SystemRandom().randrange(1 << 32)))
    assert (code, "exceptions: 0" in (said := capsys.readouterr().out)) == (0, True), said


def test_inputs_reach_every_kind_of_packet_and_refusal() -> None:
    """Else a run without exceptions would say little."""
    outcomes = fuzz_packets.fuzz("parser", "reactive", 12_000, seed=1, jobs=1).outcomes
    assert set(outcomes) >= {kind.name.lower() for kind in packets.Kind} | {"truncated", "malformed"}
    assert max(outcomes.values()) < 0.5 * sum(outcomes.values())


def test_a_seed_gives_the_same_inputs_again() -> None:
    one, same, other = (list(islice(fuzz_packets.inputs(random.Random(seed)), 5000)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_processes_share_the_inputs() -> None:
    assert fuzz_packets.fuzz("parser", "reactive", 1001, seed=1, jobs=2).inputs == 1001


def test_an_exception_is_told_with_its_bytes(monkeypatch: pytest.MonkeyPatch, capsys: Run) -> None:
    whole = packets.parse

    def careless(data: bytes) -> Packet:
        return whole(data) if data[12:14] != b"\x81\x00" else whole(data[4:] + bytes([data[17]]))

    monkeypatch.setattr(packets, "parse", careless)
    assert fuzz(monkeypatch, "--inputs", "5000") == 1
    said = capsys.readouterr().out
    assert "IndexError at test_fuzz_packets.py" in said
    broken = said.partition("--input ")[2].split()[0]
    with pytest.raises(IndexError):
        fuzz(monkeypatch, "--input", broken)


def test_a_parser_that_goes_by_the_frames_length_is_found(monkeypatch: pytest.MonkeyPatch, capsys: Run) -> None:
    whole = packets.parse

    def trusting(data: bytes) -> Packet:
        packet = whole(data)
        return dataclasses.replace(packet, end=len(data) if packet.end else 0)

    monkeypatch.setattr(packets, "parse", trusting)
    assert fuzz(monkeypatch, "--inputs", "5000") == 1
    assert "its end isn't the one that the IP header gives" in capsys.readouterr().out


def test_a_parser_that_looks_behind_the_ip_packet_is_found(monkeypatch: pytest.MonkeyPatch, capsys: Run) -> None:
    whole = packets.parse

    def curious(data: bytes) -> Packet:
        return dataclasses.replace(whole(data), ack=data[-1])

    monkeypatch.setattr(packets, "parse", curious)
    assert fuzz(monkeypatch, "--inputs", "5000") == 1
    assert "what lies behind the IP packet was looked at" in capsys.readouterr().out


def test_a_balancer_that_raises_is_found(monkeypatch: pytest.MonkeyPatch, capsys: Run) -> None:
    monkeypatch.delattr(Balancer, "_decision")
    assert fuzz(monkeypatch, "--target", "balancer", "--inputs", "5000") == 1
    assert "AttributeError" in capsys.readouterr().out


def test_a_table_without_bound_is_found(monkeypatch: pytest.MonkeyPatch, capsys: Run) -> None:
    monkeypatch.setattr(Connections, "_evict", lambda self: None)
    monkeypatch.setattr(fuzz_packets, "BOUND", 50)
    assert fuzz(monkeypatch, "--target", "balancer", "--inputs", "3000") == 1
    assert "the table is over its bound" in capsys.readouterr().out
