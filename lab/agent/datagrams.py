"""A client's UDP requests: one datagram from a new local port, and its answer, as a `wire.Request`.

No process is started for it: a socket stays in the network namespace it was made in, so a thread of the agent that
holds one speaks from the host. Rule: whatever becomes of it, one request is one record, and `cancel` ends those under
way.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from lab import wire
from lab.agent.namespaces import Place

MAX_ANSWER = 65_535  # bytes


class Datagrams:
    """The UDP requests of a load; `ask` is called from its threads."""

    def __init__(self, timeout_s: float) -> None:
        self._timeval = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6) or 1)
        self._open: set[socket.socket] = set()
        self._cancelled = False
        self._lock = threading.Lock()

    def ask(self, client: str, place: Place, url: str) -> wire.Request | None:
        """Blocks until the answer is there, or the time is over. None: cancelled."""
        started, begun = time.time(), time.monotonic()
        server, port, error = None, None, None
        try:
            with self._socket(place, url) as door:
                port = door.getsockname()[1]
                door.send((urlsplit(url).path or "/").encode())
                server, error = _read(door.recv(MAX_ANSWER))
        except BlockingIOError:
            error = "no answer in time"
        except OSError as problem:
            error = problem.strerror or str(problem)
        if self._cancelled:
            return None
        return wire.Request(
            time=started,
            client=client,
            local_port=port,
            server=server,
            status=None,
            connect_ms=None,
            total_ms=round((time.monotonic() - begun) * 1000, 3),
            error=error,
        )

    def cancel(self) -> None:
        """End all that wait for an answer."""
        with self._lock:
            self._cancelled = True
            for door in self._open:
                with suppress(OSError):  # its request is done this moment
                    door.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _socket(self, place: Place, url: str) -> Iterator[socket.socket]:
        """A socket on the host that hears the service alone, among those that `cancel` ends."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        with place.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as door:
            # the kernel's own time-out: one of Python's would not be woken by `cancel`
            door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, self._timeval)
            door.connect((host, parts.port))
            with self._lock:
                self._open.add(door)
                if self._cancelled:
                    raise OSError("cancelled")
            try:
                yield door
            finally:
                with self._lock:
                    self._open.discard(door)


def _read(answer: bytes) -> tuple[str | None, str | None]:
    """Who answered, or what is wrong with the answer."""
    name, line_break, _ = answer.partition(b"\n")
    if not line_break or not name.isascii():
        return None, "an answer that names no server"
    return name.decode(), None
