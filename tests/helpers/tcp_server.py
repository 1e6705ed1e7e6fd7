"""A server's end of a TCP connection for tests, kept simple and strict: RFC 9293's numbers, and an HTTP answer.

It checks every segment it gets against the numbers it expects, so a client that counts wrong is found out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from helpers import frames
from helpers.frames import ACK, FIN, PSH, RST, SYN

MASK = 0xFFFFFFFF


@dataclass
class TcpServer:
    """Answers a frame with frames. `answer` None: takes connections and then says nothing; b"": ends them at once.
    `listens` False: refuses, as a host whose process is dead does."""

    ip: int
    mac: int
    port: int = 80
    answer: bytes | None = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
    listens: bool = True
    isn: int = 0xFFFFFFFE  # its numbers wrap at once
    piece: int = 1000  # bytes per segment of its answer
    requests: list[bytes] = field(default_factory=list)
    resets: int = 0
    _expected: dict[tuple[int, int], int] = field(default_factory=dict)

    def receive(self, frame: bytes) -> list[bytes]:
        got = frames.fields(frame)
        client = (got["src"], got["tcp_src"])
        flags, seq = got["tcp_flags"], got["seq"]
        if flags & RST:
            assert self._expected.pop(client, seq) == seq, "a reset that the server would not believe"
            self.resets += 1
            return []
        if not self.listens:
            return [self._segment(got, RST | ACK, 0, seq + bool(flags & SYN))]
        if flags & SYN:
            self._expected[client] = (seq + 1) & MASK
            return [self._segment(got, SYN | ACK, self.isn, seq + 1)]
        return self._established(frame, got, client)

    def _established(self, frame: bytes, got: dict[str, int], client: tuple[int, int]) -> list[bytes]:
        assert client in self._expected, "a segment of no connection"
        assert got["seq"] == self._expected[client]
        data = frames.tcp_data(frame)
        if not data:
            return []
        assert got["tcp_flags"] & ACK
        assert got["ack"] == (self.isn + 1) & MASK
        self._expected[client] = next_seq = (got["seq"] + len(data)) & MASK
        self.requests.append(data)
        if self.answer is None:
            return [self._segment(got, ACK, self.isn + 1, next_seq)]
        answer = self.answer
        pieces = [answer[i : i + self.piece] for i in range(0, len(answer), self.piece)]
        out, at = [], self.isn + 1
        for piece in pieces:
            out.append(self._segment(got, ACK | PSH, at, next_seq, piece))
            at += len(piece)
        return [*out, self._segment(got, FIN | ACK, at, next_seq)]

    def _segment(self, got: dict[str, int], flags: int, seq: int, ack: int, data: bytes = b"") -> bytes:
        macs, ips = (self.mac, got["eth_src"]), (self.ip, got["src"])
        ports = (self.port, got["tcp_src"])
        return frames.tcp(macs, ips, ports, flags, seq & MASK, ack & MASK, data)
