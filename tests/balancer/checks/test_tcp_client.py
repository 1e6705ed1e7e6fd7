"""The checks' TCP client: which segments decide, whatever order, pieces and numbers they come in (RFC 9293)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from helpers.frames import ACK, FIN, PSH, RST, SYN
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.checks import tcp_client
from lab.balancer.checks.tcp_client import (
    ENDED,
    NO_HTTP,
    PASSED,
    REFUSED,
    RESET,
    STATUS_BYTES,
    WINDOW,
    Exchange,
    Segment,
)

MASK = 0xFFFFFFFF
REQUEST = tcp_client.request("10.0.1.1:80", "/")
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"
NUMBERS = st.integers(0, MASK)
ISNS = st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, MASK - 5, MASK]) | NUMBERS


def server_says(theirs: int, ours: int, data: bytes = b"", flags: int = ACK) -> Segment:
    return Segment(flags=flags, seq=theirs & MASK, ack=ours & MASK, data=data)


def connected(isn: int = 100, theirs: int = 500, status: int = 200) -> Exchange:
    """Its request is sent; the server's next byte has number theirs + 1, its next acknowledgement `end(isn)`."""
    exchange = Exchange(isn, REQUEST, status)
    assert exchange.open() == Segment(flags=SYN, seq=isn)
    (asked,) = exchange.receive(server_says(theirs, isn + 1, flags=SYN | ACK))
    assert asked == Segment(flags=ACK | PSH, seq=(isn + 1) & MASK, ack=(theirs + 1) & MASK, data=REQUEST)
    return exchange


def end(isn: int = 100) -> int:
    return (isn + 1 + len(REQUEST)) & MASK


def test_taken_connection_is_all_a_tcp_check_asks_for() -> None:
    exchange = Exchange(100)
    exchange.open()
    assert exchange.receive(server_says(500, 101, flags=SYN | ACK)) == [Segment(flags=RST, seq=101)]
    assert exchange.verdict is PASSED


@pytest.mark.parametrize("http", [False, True])
def test_refused_connection_fails_at_once(http: bool) -> None:
    exchange = Exchange(100, REQUEST if http else b"")
    exchange.open()
    assert exchange.receive(server_says(0, 101, flags=RST | ACK)) == []
    assert exchange.verdict is REFUSED


@pytest.mark.parametrize("flags", [RST, RST | ACK, SYN, ACK, FIN | ACK, 0, SYN | RST], ids=str)
def test_nothing_with_wrong_numbers_decides_an_opening(flags: int) -> None:
    exchange = Exchange(100)
    exchange.open()
    for ack in (100, 102, 0, 0x80000065):
        exchange.receive(server_says(7, ack, flags=flags))
        assert exchange.verdict is None
    exchange.receive(server_says(500, 101, flags=SYN | ACK))
    assert exchange.verdict is PASSED


def test_answer_to_an_older_connection_is_reset_with_its_own_number() -> None:
    exchange = Exchange(100)
    exchange.open()
    assert exchange.receive(server_says(7, 9999, flags=ACK)) == [Segment(flags=RST, seq=9999)]


def test_right_status_passes_and_the_connection_is_dropped() -> None:
    exchange = connected()
    assert exchange.receive(server_says(501, end(), OK)) == [Segment(flags=RST, seq=end())]
    assert exchange.verdict is PASSED


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 Unavailable\r\n\r\n", "it answers with status 503, not 200"),
        (b"HTTP/1.0 404 \r\n", "it answers with status 404, not 200"),
        (b"HTTP/1.1 200\r\n", ""),
        (b"HTTP/1.0 200 fine", ""),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NO_HTTP.why),
        (b"HTTP/2.0 200 OK\r\n", NO_HTTP.why),
        (b"HTTP/1.1 2000 OK\r\n", NO_HTTP.why),
        (b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n", NO_HTTP.why),
        (b"\0", NO_HTTP.why),
    ],
    ids=str,
)
def test_status_line_decides(answer: bytes, why: str) -> None:
    for pieces in ([answer], [answer[i : i + 1] for i in range(len(answer))]):
        exchange, at = connected(), 501
        for piece in pieces:
            exchange.receive(server_says(at, end(), piece))
            at += len(piece)
            if exchange.verdict is not None:
                break
        assert exchange.verdict is not None
        assert (exchange.verdict.passed, exchange.verdict.why) == (not why, why)


def test_other_status_may_be_the_wanted_one() -> None:
    exchange = connected(status=204)
    exchange.receive(server_says(501, end(), b"HTTP/1.1 204 No Content\r\n"))
    assert exchange.verdict is PASSED


def test_end_without_an_answer_fails() -> None:
    exchange = connected()
    assert exchange.receive(server_says(501, end(), flags=FIN | ACK)) == [Segment(flags=RST, seq=end())]
    assert exchange.verdict is ENDED
    half = connected()
    half.receive(server_says(501, end(), b"HTTP/1.1", flags=FIN | ACK))
    assert half.verdict is ENDED


def test_status_with_the_end_in_one_segment_passes() -> None:
    exchange = connected()
    exchange.receive(server_says(501, end(), OK, flags=FIN | PSH | ACK))
    assert exchange.verdict is PASSED


def test_reset_in_place_of_an_answer_fails_but_a_guessed_one_is_asked_back() -> None:
    exchange = connected()
    back = [Segment(flags=ACK, seq=end(), ack=501)]
    assert exchange.receive(server_says(502, 0, flags=RST)) == back
    assert exchange.receive(server_says(501 + WINDOW, 0, flags=RST)) == []
    assert exchange.receive(server_says(900, 0, flags=SYN)) == back
    assert exchange.verdict is None
    assert exchange.receive(server_says(501, 0, flags=RST)) == []
    assert exchange.verdict is RESET


def test_what_was_lost_is_asked_for_again_not_skipped() -> None:
    exchange = connected()
    assert exchange.receive(server_says(511, end(), OK[10:])) == [Segment(flags=ACK, seq=end(), ack=501)]
    assert exchange.verdict is None
    exchange.receive(server_says(501, end(), OK[:10]))
    exchange.receive(server_says(511, end(), OK[10:]))
    assert exchange.verdict is PASSED


def test_acknowledgement_of_what_was_never_sent_decides_nothing() -> None:
    exchange = connected()
    assert exchange.receive(server_says(501, end() + 1, OK)) == [Segment(flags=ACK, seq=end(), ack=501)]
    assert exchange.verdict is None


def test_given_up_connection_is_reset_and_says_no_more() -> None:
    exchange = connected()
    assert exchange.abandon() == [Segment(flags=RST, seq=end())]
    assert exchange.abandon() == []
    assert exchange.receive(server_says(501, end(), OK)) == []
    assert exchange.verdict is None


@given(
    ISNS,
    ISNS,
    st.lists(st.integers(1, STATUS_BYTES + 9), max_size=8),
    st.lists(st.integers(0, 30), max_size=6),
    st.integers(0, 3),
)
def test_any_split_with_overlaps_and_repetitions_gives_the_same_verdict(
    isn: int, theirs: int, cuts: Sequence[int], backwards: Sequence[int], twice: int
) -> None:
    """Pieces in order, each perhaps begun earlier than needed, some sent twice; all numbers may wrap."""
    for answer, status in itertools.product((OK, OK.replace(b"200", b"500")), (200, 500)):
        exchange = connected(isn, theirs, status)
        borders = sorted({0, *(cut for cut in cuts if cut < len(answer)), len(answer)})
        for n, (begin, until) in enumerate(itertools.pairwise(borders)):
            early = max(0, begin - (backwards[n] if n < len(backwards) else 0))
            for _ in range(2 if n == twice else 1):
                exchange.receive(server_says(theirs + 1 + early, end(isn), answer[early:until]))
        assert exchange.verdict is not None
        assert exchange.verdict.passed == (str(status).encode() in answer)


SEGMENTS = st.builds(
    Segment,
    flags=st.integers(0, 63),
    seq=st.sampled_from([499, 500, 501, 502, 513, 501 + WINDOW, 0x80000000]) | NUMBERS,
    ack=st.sampled_from([100, 101, 102, end(), end() + 1]) | NUMBERS,
    data=st.sampled_from([b"", OK, OK[:9], OK[9:], b"nonsense", bytes(3000)]) | st.binary(max_size=40),
)


@given(st.lists(SEGMENTS, max_size=12), st.booleans())
def test_whatever_comes_it_stays_in_its_numbers_keeps_little_and_passes_only_by_an_answer(
    segments: Sequence[Segment], http: bool
) -> None:
    exchange = Exchange(100, REQUEST if http else b"")
    exchange.open()
    for segment in segments:
        before = exchange.verdict
        sent = exchange.receive(segment)
        assert len(sent) <= 1
        assert all(s.flags & RST or 100 < s.seq <= end() for s in sent)
        assert len(exchange._answer) <= STATUS_BYTES
        if before is not None:
            assert (exchange.verdict, sent) == (before, [])
        elif exchange.verdict is PASSED:
            assert segment.flags & ACK
            assert not segment.flags & RST
            if http:
                assert exchange._answer.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
            else:
                assert segment.flags & SYN
                assert segment.ack == 101


def test_the_longest_request_fits_the_smallest_segment() -> None:
    assert len(tcp_client.request("255.255.255.255:65535", "/" + "x" * 254)) <= 536
