"""Ports as rules tell them, and clients as tables and cookies do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer import client
from lab.balancer.client import Marked
from lab.balancer.matching import Ports, blocks
from lab.balancer.pool import Directory, Service

PORT = st.integers(1, 65_535)
ADDRESS = st.one_of(st.integers(1, (1 << 32) - 1), st.integers(1 << 32, (1 << 128) - 1))


def service(first: int, last: int, proto: int = 6) -> Service:
    return Service(name="x", ip=1, port=first, last_port=last, mac=1, policy="round_robin", proto=proto)


def covered(block: Ports) -> range:
    value, mask = block if isinstance(block, tuple) else (block, 0xFFFF)
    assert value & ~mask == 0
    return range(value, value + (~mask & 0xFFFF) + 1)


@given(PORT, PORT)
def test_blocks_cover_a_range_and_nothing_else_each_port_once(one: int, other: int) -> None:
    first, last = sorted((one, other))
    found = blocks(service(first, last))
    assert [port for block in found for port in covered(block)] == list(range(first, last + 1))
    assert len(found) <= 30


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (80, 80, [80]),
        (8000, 8010, [(8000, 0xFFF8), (8008, 0xFFFE), 8010]),
        (8000, 8063, [(8000, 0xFFC0)]),
        (65_535, 65_535, [65_535]),
    ],
)
def test_known_blocks(first: int, last: int, expected: list[Ports]) -> None:
    assert blocks(service(first, last)) == expected


@given(ADDRESS, PORT, st.integers(0, 65_534))
def test_a_client_is_taken_apart_as_it_was_put_together(address: int, port: int, offset: int) -> None:
    found = client.number(address, port, offset)
    assert (client.address_of(found), client.port_of(found), client.offset_of(found)) == (address, port, offset)


@given(ADDRESS, PORT, st.integers(0, 65_534))
def test_a_mark_fits_a_cookie_and_is_the_client_itself_where_that_fits(address: int, port: int, offset: int) -> None:
    found = client.number(address, port, offset)
    assert client.mark(found) < 1 << 48
    assert (client.mark(found) == found) == (address < 1 << 32 and not offset)


def test_marked_clients_are_found_bounded_and_forgotten() -> None:
    wide = [client.number(1 << 100, port) for port in range(1, 6)]
    marked = Marked(bound=3)
    for one in wide:
        assert marked.note(one) == one
    assert len(marked) == 3
    assert marked.of(client.mark(wide[-1])) == wide[-1]
    assert marked.of(client.mark(wide[0])) == client.mark(wide[0])  # left, as the oldest
    marked.forget(wide[-1])
    assert len(marked) == 2
    plain = client.number(0x0A000003, 40000)
    marked.note(plain)
    assert (len(marked), marked.of(plain)) == (2, plain)


def test_what_is_put_takes_the_place_of_what_was_there() -> None:
    directory = Directory[str]()
    directory.put(1, service(80, 90), "range")
    directory.put(1, service(100, 100), "port")
    directory.put(1, service(85, 85, proto=17), "udp")
    assert [directory.find(1, 6, port) for port in (79, 80, 90, 91, 100)] == [None, "range", "range", None, "port"]
    assert (directory.find(1, 17, 85), directory.find(1, 17, 86), directory.find(2, 6, 80)) == ("udp", None, None)
    assert directory.within(1, service(90, 100)) == ["range", "port"]
    directory.put(1, service(90, 95), "new")
    assert [directory.find(1, 6, port) for port in (80, 92, 100)] == [None, "new", "port"]
