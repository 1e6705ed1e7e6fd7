"""The frames of a flood: are they SYNs that a server would answer, and do they come from where they should?"""

from __future__ import annotations

import collections
import socket
import struct

import pytest

from lab.agent.flood_sender import Frames, Sources, folded, number, ones, send

OURS, THEIRS = bytes.fromhex("02000a000006"), bytes.fromhex("020000000101")


def frame(source: str = "10.1.2.3", port: int = 4321, sequence: int = 0x12345678) -> bytes:
    return Frames(OURS, THEIRS, "10.0.1.1", 80).syn(number(source), port, sequence)


def test_it_goes_from_the_host_to_the_service_whatever_it_says_inside() -> None:
    data = frame()
    assert data[:14] == THEIRS + OURS + b"\x08\x00"
    assert socket.inet_ntoa(data[26:30]) == "10.1.2.3"
    assert socket.inet_ntoa(data[30:34]) == "10.0.1.1"


def test_it_is_a_syn_and_nothing_else() -> None:
    source, target, sequence, acknowledged, offset, flags = struct.unpack("!HHIIBB", frame()[34:48])
    assert (source, target, sequence, acknowledged, offset >> 4, flags) == (4321, 80, 0x12345678, 0, 6, 0x02)
    assert len(frame()) == 14 + 20 + 24


@pytest.mark.parametrize("source", ["10.0.0.1", "10.255.255.254", "192.168.0.255"])
@pytest.mark.parametrize(("port", "sequence"), [(1024, 0), (65_535, 0xFFFFFFFF)])
def test_its_checksums_are_right(source: str, port: int, sequence: int) -> None:
    """A sum over all words, checksum included, folds to nothing (RFC 1071)."""
    data = frame(source, port, sequence)
    ip, tcp = data[14:34], data[34:]
    assert folded(ones(ip)) == 0
    assert folded(ones(data[26:34] + struct.pack("!HH", 6, len(tcp)) + tcp)) == 0


def test_spoofed_sources_are_many_of_a_network_that_is_nobodys() -> None:
    """Not of the lab's own: hosts would ask for each by ARP, and fill the table of neighbours that they all share."""
    sources = Sources("10.0.0.6/8", spoofed=True, taken="198.18.0.7")
    found = {sources.next()[0] for _ in range(5_000)}
    assert len(found) > 4_500
    assert number("198.18.0.0") < min(found)
    assert max(found) < number("198.19.255.255")
    assert number("198.18.0.7") not in found


def test_an_honest_flood_has_one_source_and_many_ports() -> None:
    sources = Sources("10.0.0.6/8", spoofed=False, taken="10.0.0.6")
    found = [sources.next() for _ in range(200)]
    assert {source for source, _, _ in found} == {number("10.0.0.6")}
    assert len({port for _, port, _ in found}) > 150


def test_no_more_are_sent_than_asked_for_and_a_full_queue_costs_none() -> None:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        refusals = collections.deque([False] * 5 + [True] + [False] * 100)

        class Full:
            def send(self, data: bytes) -> int:
                if refusals.popleft():
                    raise OSError(105, "No buffer space available")
                return one.send(data)

        sent = send(Full(), Frames(OURS, THEIRS, "10.0.1.1", 80), Sources("10.0.0.6/8", True, ""), 20, 0.05)  # type: ignore[arg-type]
        other.setblocking(False)
        received = 0
        while received < 20:
            other.recv(100)
            received += 1
        with pytest.raises(BlockingIOError):
            other.recv(100)
    assert sent == 20
