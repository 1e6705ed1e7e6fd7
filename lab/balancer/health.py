"""Server health: probe results in, state changes out; and when the next probe is due.

A server goes down after `fall` misses in a row and up after `rise` answers in a row, so one lost probe need change
nothing. Time comes in as `now` (s, monotonic). Rule: every transition stands in TRANSITIONS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class State(str, Enum):
    UNKNOWN = "unknown"  # not asked yet, or not answered yet: gets nothing new, and loses nothing it has
    UP = "up"
    DOWN = "down"


class Signal(Enum):
    ROSE = 1  # `rise` answers in a row
    FELL = 2  # `fall` misses in a row, or its link went down


TRANSITIONS: Final[Mapping[State, Mapping[Signal, State]]] = {
    State.UNKNOWN: {Signal.ROSE: State.UP, Signal.FELL: State.DOWN},
    State.UP: {Signal.FELL: State.DOWN},
    State.DOWN: {Signal.ROSE: State.UP},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    interval: float = 1.0  # s between probes of one server
    timeout: float = 0.5  # s an answer may take; below `interval`
    rise: int = 1
    fall: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= self.interval:
            raise ValueError("health: the time-out must be above 0 and at most the interval")
        if self.rise < 1 or self.fall < 1:
            raise ValueError("health: rise and fall must be 1 or more")


class Health:
    """One server's state. Each probe is closed once: by its answer or at its time-out; a late answer counts nothing."""

    __slots__ = ("_answers", "_deadline", "_misses", "_next_probe", "settings", "state")

    def __init__(self, settings: HealthSettings) -> None:
        self.settings = settings
        self.state = State.UNKNOWN
        self._answers = 0
        self._misses = 0
        self._next_probe = 0.0  # s; 0: at once
        self._deadline: float | None = None  # s; of the open probe

    def next_timer(self) -> float:
        return self._next_probe if self._deadline is None else min(self._deadline, self._next_probe)

    def probe_due(self, now: float) -> bool:
        """Whether to send a probe now; if so, it is taken as sent."""
        if now < self._next_probe:
            return False
        self._deadline = now + self.settings.timeout
        self._next_probe = now + self.settings.interval
        return True

    def asked(self, now: float) -> bool:
        """Whether a probe is open: only then is an answer one."""
        return self._deadline is not None and now <= self._deadline

    def answered(self, now: float) -> bool:
        """An answer came. True if the state changed."""
        if not self.asked(now):
            return False
        self._deadline = None
        self._misses = 0
        self._answers += 1
        return self._answers >= self.settings.rise and self._apply(Signal.ROSE)

    def timed_out(self, now: float) -> bool:
        """Close an open probe whose time is over. True if the state changed."""
        if self._deadline is None or now < self._deadline:
            return False
        self._deadline = None
        self._answers = 0
        self._misses += 1
        return self._misses >= self.settings.fall and self._apply(Signal.FELL)

    def link_down(self) -> bool:
        """The port it hangs on went down: no need to wait for probes. True if the state changed."""
        self._deadline = None
        self._answers = 0
        return self._apply(Signal.FELL)

    def probe_now(self) -> None:
        """Something changed: the next probe is due at once, an open one is forgotten."""
        self._next_probe = 0.0
        self._deadline = None

    def _apply(self, signal: Signal) -> bool:
        after = TRANSITIONS[self.state].get(signal)
        if after is None:
            return False
        self.state = after
        return True
