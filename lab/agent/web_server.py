"""A small web server, run on a host as a script of its own: says who answers, and logs each hit.

    /usr/bin/python3 -I -S web_server.py NAME PORT[-LAST] RESPONSE_BYTES DELAY_MS LOG

It writes UP to standard output once it listens. `GET /slow?seconds=S&bytes=B` sends B bytes evenly over S seconds; any
other path gives the same body. Standard library only, and little of it: many hosts each start one, so imports are
counted in milliseconds. A thread per connection keeps a slow answer from holding up the others. Rule: a hit stands in
the log before the last byte of its answer is sent, so the counts at both ends agree as soon as the client is done. The
balancer's own health checks are not logged: they are no hits.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time

BACKLOG = 1024
MAX_HEAD = 16_384
UP = b"listening\n"
HEALTH_CHECK = "balance-lab-health"  # User-Agent of the balancer's checks
IDLE_S = 60.0  # an open connection without a request is closed after this
SLICE_S = 0.05  # a slow answer sends a piece this often
MAX_SLOW_S, MAX_SLOW_BYTES = 3600.0, 100_000_000
REASONS = {200: "OK", 400: "Bad Request", 405: "Method Not Allowed", 431: "Request Header Fields Too Large"}


class Site:
    """What this server answers, and its log."""

    def __init__(self, name: str, size: int, delay_s: float, log: str) -> None:
        self.name = name
        self.body = body_of(name, size)
        self.delay_s = delay_s
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def log(self, started: float, peer: tuple[str, int], path: str, status: int) -> None:
        """One write of one line: lines of several threads never mix."""
        quoted = path.replace("\\", "\\\\").replace('"', '\\"')
        quoted = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in quoted)
        line = f'{{"time": {started:.6f}, "client_ip": "{peer[0]}", "client_port": {peer[1]}, '
        os.write(self._log, f'{line}"path": "{quoted}", "status": {status}}}\n'.encode())


class Request:
    """A request's head, read."""

    def __init__(self, method: str, path: str, version: str, headers: dict[str, str]) -> None:
        self.method = method
        self.path = path
        wish = headers.get("connection", "").lower()
        self.keep = wish == "keep-alive" if version == "HTTP/1.0" else wish != "close"
        self.counts = headers.get("user-agent") != HEALTH_CHECK
        length = headers.get("content-length", "0")
        self.body_bytes = int(length) if length.isascii() and length.isdigit() else 0
        if "transfer-encoding" in headers:
            self.keep = False  # a chunked body is not read: nothing after it could be understood


def body_of(name: str, size: int) -> bytes:
    """`size` bytes of text that begin with who answered."""
    text = f"{name} answers.\n".encode()
    if size <= len(text):
        return text[:size]
    return text + b"." * (size - len(text) - 1) + b"\n"


def parse(head: bytes) -> Request | None:
    """Read a request's head (without its empty line); None: it is no HTTP/1 request."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    pairs = (line.partition(":") for line in lines[1:])
    return Request(words[0], words[1], words[2], {key.strip().lower(): value.strip() for key, _, value in pairs})


def slow_parameters(path: str) -> tuple[float, int] | None:
    """Seconds and bytes asked for by /slow?…; None: they make no sense."""
    query = dict(pair.partition("=")[::2] for pair in path.partition("?")[2].split("&"))
    try:
        seconds, size = float(query.get("seconds", "1")), int(query.get("bytes", "1000"))
    except ValueError:
        return None
    return (seconds, size) if 0 <= seconds <= MAX_SLOW_S and 0 <= size <= MAX_SLOW_BYTES else None


class Conversation:
    """One client's connection: requests in, answers out, until either side closes."""

    def __init__(self, site: Site, connection: socket.socket, peer: tuple[str, int]) -> None:
        self._site, self._connection, self._peer = site, connection, peer
        self._unread = b""
        self._counts = True  # whether the request under way is a hit

    def run(self) -> None:
        with self._connection:
            try:
                self._connection.settimeout(IDLE_S)
                self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while self._exchange():
                    pass
            except OSError:
                return  # the client is gone, or silent for too long

    def _exchange(self) -> bool:
        """Serve one request; returns whether another may follow."""
        head = self._head()
        if head is None:
            return False
        started = time.time()
        request = parse(head) if len(head) <= MAX_HEAD else None
        self._counts = request is None or request.counts
        if request is None:
            self._answer(started, "-", 400 if len(head) <= MAX_HEAD else 431, b"", keep=False)
            return False
        self._discard(request.body_bytes)
        self._serve(started, request)
        return request.keep

    def _serve(self, started: float, request: Request) -> None:
        head_only = request.method == "HEAD"
        if request.method not in ("GET", "HEAD", "POST", "PUT"):
            self._answer(started, request.path, 405, b"", keep=request.keep)
        elif request.path.partition("?")[0] == "/slow":
            self._serve_slow(started, request, head_only)
        else:
            if self._site.delay_s:
                time.sleep(self._site.delay_s)
            self._answer(started, request.path, 200, self._site.body, keep=request.keep, head_only=head_only)

    def _serve_slow(self, started: float, request: Request, head_only: bool) -> None:
        wanted = slow_parameters(request.path)
        if wanted is None:
            self._answer(started, request.path, 400, b"", keep=request.keep)
            return
        seconds, size = wanted
        body = body_of(self._site.name, 0 if head_only else size)
        pieces = max(1, min(round(seconds / SLICE_S), size))
        self._connection.sendall(self._head_of(200, size, request.keep))
        begun = time.monotonic()
        for i in range(pieces):
            time.sleep(max(0.0, begun + seconds * (i + 1) / pieces - time.monotonic()))
            if i == pieces - 1:
                self._log(started, request.path, 200)
            self._connection.sendall(body[len(body) * i // pieces : len(body) * (i + 1) // pieces])

    def _log(self, started: float, path: str, status: int) -> None:
        if self._counts:
            self._site.log(started, self._peer, path, status)

    def _answer(
        self, started: float, path: str, status: int, body: bytes, *, keep: bool, head_only: bool = False
    ) -> None:
        self._log(started, path, status)
        self._connection.sendall(self._head_of(status, len(body), keep) + (b"" if head_only else body))

    def _head_of(self, status: int, size: int, keep: bool) -> bytes:
        return (
            f"HTTP/1.1 {status} {REASONS[status]}\r\nX-Server: {self._site.name}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {size}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        ).encode()

    def _head(self) -> bytes | None:
        """The next request's head; None: the client has closed. Longer than MAX_HEAD: too long, and cut."""
        while b"\r\n\r\n" not in self._unread and len(self._unread) <= MAX_HEAD:
            data = self._connection.recv(65_536)
            if not data:
                return None
            self._unread += data
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        return head

    def _discard(self, size: int) -> None:
        """Drop a request's body, so that the next request is found behind it."""
        while len(self._unread) < size:
            size -= len(self._unread)
            self._unread = self._connection.recv(65_536)
            if not self._unread:
                return
        self._unread = self._unread[size:]


def listen(port: int) -> socket.socket:
    """A socket for IPv4 and IPv6, or for IPv4 alone where the kernel has no IPv6."""
    try:
        listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        listener = socket.socket(socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("", port))
    listener.listen(BACKLOG)
    return listener


def serve(site: Site, listener: socket.socket) -> None:
    while True:
        connection, address = listener.accept()
        peer = (address[0].removeprefix("::ffff:"), address[1])
        threading.Thread(target=Conversation(site, connection, peer).run, daemon=True).start()


def main(name: str, ports: str, size: str, delay_ms: str, log: str) -> None:
    site = Site(name, int(size), int(delay_ms) / 1000, log)
    threading.stack_size(256 * 1024)  # a thousand connections are 256 MB of address space, not 8 GB
    first, _, last = ports.partition("-")
    listeners = [listen(port) for port in range(int(first), int(last or first) + 1)]
    os.write(1, UP)
    for listener in listeners[1:]:
        threading.Thread(target=serve, args=(site, listener), daemon=True).start()
    serve(site, listeners[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
