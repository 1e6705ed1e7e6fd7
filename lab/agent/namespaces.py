"""Starting processes and opening sockets in a host's network namespace, without a helper program in between.

The calling thread steps into the namespace, starts the child (which inherits it), and steps back: microseconds,
where `mnexec` or `nsenter` would cost another exec for each request. Python has `os.setns` only since 3.12, so this
asks the C library. Rule: a thread always returns to the agent's own namespace.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Place(Protocol):
    """Where processes can be started."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]: ...
    def socket(self, family: int, kind: int) -> socket.socket: ...


class Here:
    """The agent's own namespace: the switches', and loopback in tests."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(argv, **options)

    def socket(self, family: int, kind: int) -> socket.socket:
        return socket.socket(family, kind)


class Namespace:
    """The network namespace of process `pid`, held open until `close`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread, and only it, is inside."""
        ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(self._theirs)
            try:
                yield
            finally:
                _setns(ours)
        finally:
            os.close(ours)

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        with self.entered():
            return subprocess.Popen(argv, **options)

    def socket(self, family: int, kind: int) -> socket.socket:
        """A socket of this namespace; it stays one wherever it is used."""
        with self.entered():
            return socket.socket(family, kind)

    def close(self) -> None:
        os.close(self._theirs)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"can't enter a network namespace: {os.strerror(error)}")
