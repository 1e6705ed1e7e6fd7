"""POX's hook for `lab.engines.direct`: a connection of its own unpackers and handlers for two kinds of messages.

A POX connection reads each message by `unpackers[kind]`, then calls `handlers[kind]`, two lists that all connections
share. Ours gets copies in which both kinds go to the switchboard. Rule: what POX would have done with a message is done
whenever we can't or mustn't take it; nothing of POX is imported, and a POX without these lists is left as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lab.engines.direct import KINDS, Direct
from lab.engines.switch_messages import Buffer, length_of

log = logging.getLogger("balancer")


def install(connection: Any, direct: Direct, heard: Callable[[], bool]) -> None:
    """Put `direct` in place of POX's events on `connection`. `heard`: somebody else listens for them."""
    unpackers, handlers = getattr(connection, "unpackers", None), getattr(connection, "handlers", None)
    if not isinstance(unpackers, list) or not isinstance(handlers, list) or max(KINDS) >= len(unpackers):
        log.info("this POX has no hook for packet-ins: its events serve as well, but cost more")
        return
    connection.unpackers, connection.handlers = list(unpackers), list(handlers)
    for kind in KINDS:
        connection.unpackers[kind] = _reader(unpackers[kind], heard)
        connection.handlers[kind] = _handler(unpackers[kind], handlers[kind], direct)


class _Unread:
    """Where a message is that hasn't been read yet."""

    __slots__ = ("at", "data")

    def __init__(self, data: Buffer, at: int) -> None:
        self.data = data
        self.at = at


def _reader(unpack: Callable[..., Any], heard: Callable[[], bool]) -> Callable[[Buffer, int], tuple[int, Any]]:
    def read(data: Buffer, at: int) -> tuple[int, Any]:
        if heard():
            return unpack(data, at)  # type: ignore[no-any-return]
        return at + length_of(data, at), _Unread(data, at)

    return read


def _handler(unpack: Callable[..., Any], handle: Callable[..., Any], direct: Direct) -> Callable[[Any, Any], None]:
    def take(connection: Any, message: Any) -> None:
        if not isinstance(message, _Unread):
            handle(connection, message)
        elif not direct.take(message.data, message.at):
            handle(connection, unpack(message.data, message.at)[1])

    return take
