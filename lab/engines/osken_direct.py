"""os-ken's hook for `lab.engines.direct`: what stands between os-ken and a switch's socket.

os-ken reads a message in two pieces, makes objects and an event of it, and hands that and later the answer through two
queues, each another greenlet's. Here as much is read as there is, two kinds of messages go to the switchboard at once,
and os-ken is given the others, whole and in their place. Rule: what os-ken has in hand already comes first, so nothing
is taken while events wait for the app; no import of os-ken.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from lab.engines.direct import KINDS, Direct
from lab.engines.switch_messages import HEADER_BYTES, length_of, whole

BULK: Final = 1 << 16  # bytes read at a time
TURN: Final = 256  # messages after which others have theirs: the clock's tick, other switches

log = logging.getLogger("balancer")


class DirectSocket:
    """A switch's socket as os-ken sees it. Put in its place between two messages, never within one.

    idle: nothing waits for the app, and nobody else listens. pause: lets other greenlets run."""

    def __init__(self, switch: Any, idle: Callable[[], bool], pause: Callable[[], Any]) -> None:
        self._socket = switch
        self._idle = idle
        self._pause = pause
        self._data = b""
        self._at = 0
        self._taken = 0
        self._sending = threading.Lock()
        self.direct: Direct | None = None  # None: os-ken gets everything

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def recv(self, size: int) -> bytes:
        """A message that is os-ken's, however long; empty when the switch has hung up."""
        while True:
            self._take()
            if given := self._next():
                return given
            more: bytes = self._socket.recv(BULK)
            if not more:
                return more
            self._data = self._data[self._at :] + more
            self._at = 0

    def sendall(self, data: bytes) -> None:
        with self._sending:
            self._socket.sendall(data)

    def post(self, data: bytes) -> None:
        """The switchboard's way out. A switch that is gone, or stuck, is told of by the end of its connection."""
        try:
            self.sendall(data)
        except OSError as error:
            log.debug("nothing more can be sent: %s", error)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def _take(self) -> None:
        """Hand the messages that are next, and ours, to the switchboard."""
        while self.direct is not None and whole(self._data, self._at) in KINDS and self._idle():
            if not self.direct.take(self._data, self._at):
                return
            self._at += length_of(self._data, self._at)
            self._taken += 1
            if self._taken >= TURN:
                self._taken = 0
                self._pause()

    def _next(self) -> bytes:
        """One whole message; empty if there is none. A length that can't be is os-ken's, with all that follows."""
        start, left = self._at, len(self._data) - self._at
        if left < HEADER_BYTES:
            return b""
        length = length_of(self._data, start)
        if length > left:
            return b""
        self._at = start + length if length >= HEADER_BYTES else len(self._data)
        return self._data[start : self._at]
