"""A switch's packet-ins and flow-removed messages, straight from the bytes to the switchboard, past the framework.

Every connection costs such a message or two, and a framework's objects and events cost more than all that we do about
it. The hooks are `pox_direct` and `osken_direct`; all other messages, and every other switch's, go the framework's way.
Rule: a message that can't be read, or that somebody else listens for as well, is the framework's too.
"""

from __future__ import annotations

import logging
from typing import Final

from lab.engines.switch_messages import (
    FLOW_REMOVED,
    PACKET_IN,
    BadMessage,
    Buffer,
    flow_removed,
    length_of,
    packet_in,
    whole,
)
from lab.engines.switchboard import Switchboard

log = logging.getLogger("balancer")
KINDS: Final = (PACKET_IN, FLOW_REMOVED)


class Direct:
    """One switch's way to the switchboard."""

    def __init__(self, board: Switchboard, dpid: int, version: int) -> None:
        self._board = board
        self._dpid = dpid
        self._version = version

    def take(self, data: Buffer, at: int) -> bool:
        """Handle the whole message of one of KINDS at `at`. False: it can't be read, and nothing was done.

        If another such message follows in `data`, it must be handed in next: its answers and this one's leave together.
        """
        more = whole(data, at + length_of(data, at)) in KINDS
        try:
            if data[at + 1] == PACKET_IN:
                self._board.packet_in(self._dpid, *packet_in(self._version, data, at), more)
            else:
                self._board.flow_removed(self._dpid, *flow_removed(self._version, data, at), more)
        except BadMessage:
            return False
        except Exception:  # a mistake of ours must not cost the switch its connection, as no framework would let it
            log.exception("a message of switch %d could not be handled", self._dpid)
        return True
