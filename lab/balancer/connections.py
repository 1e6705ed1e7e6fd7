"""The table of connections: which server each one has, and how many live ones a server has. One table for all services.

A connection is live from its SYN until its rule in the switch is gone; then its entry is idle, but stays, so that a
packet that returns after a long pause still finds its server, and makes it live again. When the table is full, the
entry that has been idle longest leaves, and only where none is idle, the oldest live one.
Rule: every operation is O(1), whatever the size, but for the two that say otherwise. An entry is one integer, not an
object: at a million of them that saves memory and spares the garbage collector the walk over them.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from lab.balancer.pool import Member

DEFAULT_BOUND: Final = 1_000_000
_MAC_SHIFT: Final = 32
_MEMBER_SHIFT: Final = 80
_SEQ_MASK: Final = (1 << 32) - 1
_MAC_MASK: Final = (1 << 48) - 1


class Connections:
    """Connections by key, an integer that holds client and service.

    An entry is member << 80 | client's MAC << 32 | seq.
    `seq` is that of the SYN that began it: the same one again is a repetition, another one a new connection. Of a UDP
    flow it is when a datagram of it was last decided about."""

    def __init__(self, bound: int = DEFAULT_BOUND) -> None:
        if bound < 1:
            raise ValueError("the connection table's bound must be 1 or more")
        self._bound = bound
        self._live: OrderedDict[int, int] = OrderedDict()  # by when each began, or came back
        self._idle: OrderedDict[int, int] = OrderedDict()  # by when each rule left
        self._members: dict[int, Member] = {}
        self.evicted = 0

    @property
    def bound(self) -> int:
        return self._bound

    def __len__(self) -> int:
        return len(self._live) + len(self._idle)

    def statistics(self) -> dict[str, int]:
        return {"remembered": len(self), "live": len(self._live), "evicted": self.evicted, "bound": self._bound}

    def find(self, key: int) -> Member | None:
        """Its server, without any effect."""
        entry = self._live.get(key) or self._idle.get(key)
        return None if entry is None else self._members[entry >> _MEMBER_SHIFT]

    def begun(self, key: int, seq: int) -> Member | None:
        """Its server, if it was begun by a SYN of this number; without any effect."""
        entry = self._live.get(key) or self._idle.get(key)
        if entry is None or entry & _SEQ_MASK != seq:
            return None
        return self._members[entry >> _MEMBER_SHIFT]

    def since(self, key: int, seq: int) -> Member | None:
        """Its server, if its number is `seq` or more; without any effect."""
        entry = self._live.get(key) or self._idle.get(key)
        if entry is None or entry & _SEQ_MASK < seq:
            return None
        return self._members[entry >> _MEMBER_SHIFT]

    def mac(self, key: int) -> int:
        """Its client's MAC, as the SYN had it; 0 when there is no such connection."""
        entry = self._live.get(key) or self._idle.get(key) or 0
        return entry >> _MAC_SHIFT & _MAC_MASK

    def open(self, key: int, member: Member, seq: int, mac: int = 0) -> None:
        """A new connection; a former one of the same key is over."""
        if key in self._live or key in self._idle:
            self.close(key)
        elif len(self._live) + len(self._idle) >= self._bound:
            self._evict()
        self._live[key] = member.id << _MEMBER_SHIFT | mac << _MAC_SHIFT | seq
        self._members[member.id] = member
        member.count_live(1)

    def use(self, key: int) -> None:
        """A packet of it came to the controller, so it gets its rule again: live, and the youngest."""
        if key in self._live:
            self._live.move_to_end(key)
        elif key in self._idle:
            entry = self._live[key] = self._idle.pop(key)
            self._members[entry >> _MEMBER_SHIFT].count_live(1)

    def renew(self, key: int, seq: int) -> None:
        """The same, and its number is `seq` from now on."""
        self.use(key)
        if key in self._live:
            self._live[key] = self._live[key] & ~_SEQ_MASK | seq

    def rest(self, key: int, member: Member) -> bool:
        """Its rule to `member` is gone: idle from now on. False: it isn't known as live, or is another server's now."""
        entry = self._live.get(key)
        if entry is None or entry >> _MEMBER_SHIFT != member.id:
            return False
        del self._live[key]
        self._idle[key] = entry
        member.count_live(-1)
        return True

    def live_of(self, member: Member) -> list[tuple[int, int]]:
        """(key, client's MAC) of a server's live connections, youngest first. Walks the table: only for its end."""
        entries = reversed(self._live.items())
        return [(key, e >> _MAC_SHIFT & _MAC_MASK) for key, e in entries if e >> _MEMBER_SHIFT == member.id]

    def rest_all(self) -> None:
        """The switch has lost all rules. Its cost grows with the table's size."""
        self._idle.update(self._live)
        self._live.clear()
        for member in self._members.values():
            member.count_live(-member.live)

    def close(self, key: int) -> None:
        """It is over and forgotten."""
        entry = self._live.pop(key, None)
        if entry is None:
            self._idle.pop(key, None)
        else:
            self._members[entry >> _MEMBER_SHIFT].count_live(-1)

    def _evict(self) -> None:
        self.evicted += 1
        if self._idle:
            self._idle.popitem(last=False)
        else:
            _, entry = self._live.popitem(last=False)
            self._members[entry >> _MEMBER_SHIFT].count_live(-1)
