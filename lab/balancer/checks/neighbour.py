"""Whose MAC a server's address has: learned by ARP, then pinned.

The first answer is believed. From then on another MAC in the server's name is not, until the pinned one has left `fall`
questions in a row unanswered: then the server was replaced, and the next answer is believed. So who lies while the
server lives steals nothing, and who takes over a dead server's address is the server.
When the pinned MAC is seen at another port than before, either the server has moved or somebody else uses its MAC: the
old port is asked (a challenge), and the pin is gone if nobody answers there in time.
Rule: an answer counts only while a question is open.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

NEVER: Final = float("-inf")


class Claim(Enum):
    """What an ARP answer in a server's name is."""

    CONFIRMED = 1  # the pinned MAC's, and asked for
    LEARNED = 2  # another than before, and believed
    LATE = 3  # with no question open
    FOREIGN = 4  # somebody else's while the pinned one lives: not believed


class Neighbour:
    """What is known of one server's MAC. `fall`: unanswered questions after which another one may take over."""

    __slots__ = ("_challenged_until", "_deadline", "_fall", "mac", "unanswered")

    def __init__(self, fall: int) -> None:
        self.mac = 0  # 0: never answered
        self.unanswered = 0  # in a row
        self._fall = fall
        self._deadline: float = NEVER  # s, of the open question
        self._challenged_until: float = NEVER  # s

    @property
    def lost(self) -> bool:
        """Whether the pinned MAC is silent for so long that it binds no more."""
        return not self.mac or self.unanswered >= self._fall

    def asked(self, deadline: float) -> None:
        """A question was sent, open until `deadline` (s)."""
        self._deadline = deadline

    def closed(self) -> None:
        """The time for an answer is over."""
        self.unanswered += self._deadline != NEVER
        self._deadline = NEVER

    def forget(self) -> None:
        """What is open is to count nothing."""
        self._deadline = self._challenged_until = NEVER

    def challenge(self, deadline: float) -> bool:
        """Whether to ask the old port now: not while it is being asked. If so, it is taken as asked."""
        if self._challenged_until != NEVER:
            return False
        self._challenged_until = deadline
        return True

    def proved(self) -> bool:
        """The pinned MAC has answered at its port: whether that ends a challenge."""
        ends, self._challenged_until = self._challenged_until != NEVER, NEVER
        return ends

    def expire(self, now: float) -> None:
        """A challenge that nobody answered ends the pin."""
        if NEVER < self._challenged_until < now:
            self._challenged_until = NEVER
            self.unanswered = max(self.unanswered, self._fall)

    def claimed(self, mac: int, now: float) -> Claim:
        """An ARP answer says that the server's MAC is `mac`."""
        if mac != self.mac and not self.lost:
            return Claim.FOREIGN
        if now > self._deadline:
            return Claim.LATE
        learned = mac != self.mac
        self.mac = mac
        self.unanswered = 0
        self._deadline = NEVER
        return Claim.LEARNED if learned else Claim.CONFIRMED
