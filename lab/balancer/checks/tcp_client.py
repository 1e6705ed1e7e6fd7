"""A TCP client for one question: does a server take a connection, and does it answer a request with the right status?

    SYN -> <- SYN-ACK [-> ACK and request <- the answer's first bytes] -> RST

Segments in, segments out; framing and time are the caller's. It leaves by RST, so neither end keeps anything, and
it repeats nothing: the next probe is the repetition. Its window is small, so a long answer stops where it no longer
matters. Segments may come split, joined, twice or out of order; what comes out of order is asked for again.
Rule: nothing but a segment that the connection's own numbers allow may decide.
Source: RFC 9293, sections 3.10.7.3 (SYN-SENT) and 3.10.7.4 (other states).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from lab.balancer.packets import ACK, FIN, PSH, RST, SYN

WINDOW: Final = 1024  # bytes
USER_AGENT: Final = "balance-lab-health"
STATUS_BYTES: Final = 13  # "HTTP/1.1 200 ": all that is kept of an answer
_STATUS: Final = re.compile(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9])[ \r\n]")
_FORM: Final = b"HTTP/1.d ddd "  # d: a digit; the last may also end the line
_MASK: Final = 0xFFFFFFFF


@dataclass(slots=True, kw_only=True)
class Segment:
    flags: int
    seq: int
    ack: int = 0
    data: bytes = b""


class State(Enum):
    SYN_SENT = 1
    ESTABLISHED = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    passed: bool
    why: str = ""  # of a failure, to follow the server's name


PASSED: Final = Verdict(True)
REFUSED: Final = Verdict(False, "it refuses connections")
RESET: Final = Verdict(False, "it reset the connection in place of an answer")
ENDED: Final = Verdict(False, "it ended the connection without an answer")
NO_HTTP: Final = Verdict(False, "its answer isn't HTTP")


class Exchange:
    """One probe's connection. `request` empty: to connect is all. `isn`: its first sequence number."""

    __slots__ = ("_answer", "_received", "_request", "_sent", "_status", "state", "verdict")

    def __init__(self, isn: int, request: bytes = b"", status: int = 200) -> None:
        self.state = State.SYN_SENT
        self.verdict: Verdict | None = None
        self._request = request
        self._status = status
        self._answer = b""
        self._sent = (isn + 1) & _MASK  # SND.NXT; the SYN counts as one
        self._received = 0  # RCV.NXT

    def open(self) -> Segment:
        return Segment(flags=SYN, seq=(self._sent - 1) & _MASK)

    def receive(self, segment: Segment) -> list[Segment]:
        """What is to be sent for a segment that came. Once `verdict` is there, nothing more is."""
        if self.state is State.SYN_SENT:
            return self._opening(segment)
        if self.state is State.ESTABLISHED:
            return self._established(segment)
        return []

    def abandon(self) -> list[Segment]:
        """The time is over: let the server forget the connection, too. No verdict comes any more."""
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        return [Segment(flags=RST, seq=self._sent)]

    def silence(self) -> str:
        """Why there was no verdict in time, to follow the server's name."""
        return "it takes no connection" if self.state is State.SYN_SENT else "it doesn't answer HTTP in time"

    def _opening(self, segment: Segment) -> list[Segment]:
        if segment.flags & ACK and segment.ack != self._sent:  # of an older connection
            return [] if segment.flags & RST else [Segment(flags=RST, seq=segment.ack)]
        if segment.flags & RST:
            return self._decide(REFUSED, reset=False) if segment.flags & ACK else []
        if not (segment.flags & SYN and segment.flags & ACK):
            return []
        self._received = (segment.seq + 1) & _MASK
        self.state = State.ESTABLISHED
        if not self._request:
            return self._decide(PASSED)
        asked = Segment(flags=ACK | PSH, seq=self._sent, ack=self._received, data=self._request)
        self._sent = (self._sent + len(self._request)) & _MASK
        return [asked]

    def _established(self, segment: Segment) -> list[Segment]:
        if not self._in_window(segment):
            return [] if segment.flags & RST else [self._acknowledge()]
        if segment.flags & RST:
            # another number than the expected one may be a guess of somebody else's: ask back
            return self._decide(RESET, reset=False) if segment.seq == self._received else [self._acknowledge()]
        if segment.flags & SYN:
            return [self._acknowledge()]
        if not segment.flags & ACK:
            return []
        if _distance(self._sent, segment.ack) < 0:  # of what was never sent
            return [self._acknowledge()]
        return self._take(segment)

    def _in_window(self, segment: Segment) -> bool:
        first = _distance(segment.seq, self._received)
        last = first + max(0, len(segment.data) - 1)
        return 0 <= first < WINDOW or 0 <= last < WINDOW

    def _take(self, segment: Segment) -> list[Segment]:
        """The part of a segment's data that is next, and its FIN when nothing is missing before it."""
        known = _distance(self._received, segment.seq)
        if known < 0:
            return [self._acknowledge()]
        fresh = segment.data[known : known + WINDOW]
        self._received = (self._received + len(fresh)) & _MASK
        self._answer += fresh[: STATUS_BYTES - len(self._answer)]
        if verdict := self._judge():
            return self._decide(verdict)
        if segment.flags & FIN and self._received == (segment.seq + len(segment.data)) & _MASK:
            return self._decide(ENDED)
        return [self._acknowledge()] if segment.data else []

    def _judge(self) -> Verdict | None:
        """A verdict as soon as the first bytes allow one."""
        found = _STATUS.match(self._answer)
        if found is None:
            possible = len(self._answer) < STATUS_BYTES and _begins_status(self._answer)
            return None if possible else NO_HTTP
        status = int(found[1])
        if status == self._status:
            return PASSED
        return Verdict(False, f"it answers with status {status}, not {self._status}")

    def _decide(self, verdict: Verdict, reset: bool = True) -> list[Segment]:
        self.verdict = verdict
        self.state = State.CLOSED
        return [Segment(flags=RST, seq=self._sent)] if reset else []

    def _acknowledge(self) -> Segment:
        return Segment(flags=ACK, seq=self._sent, ack=self._received)


def request(host: str, path: str) -> bytes:
    """A GET; it says what it is, so that servers' logs can tell probes from clients."""
    lines = f"GET {path} HTTP/1.1", f"Host: {host}", f"User-Agent: {USER_AGENT}", "Connection: close"
    return "\r\n".join((*lines, "", "")).encode("ascii")


def _begins_status(start: bytes) -> bool:
    return all(0x30 <= got <= 0x39 if form == ord("d") else got == form for got, form in zip(start, _FORM))


def _distance(later: int, earlier: int) -> int:
    """`later` - `earlier` of sequence numbers, which wrap: from -2**31 to 2**31 - 1."""
    return ((later - earlier + 0x80000000) & _MASK) - 0x80000000
