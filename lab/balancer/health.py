"""Server health: probe results in, state changes out; when the next probe is due; how far a slow start has come.

A server goes down after `fall` misses in a row and up after `rise` answers in a row, so one lost probe need change
nothing. How a probe asks is none of this module's business (`lab.balancer.checks`), and neither is what an operator
wants of the server. Time comes in as `now` (s, monotonic). Rule: every transition stands in TRANSITIONS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_PATH: Final = 255  # characters of an HTTP check's path: its whole request fits into the smallest segment
RAMP_FULL: Final = 10  # a slow start has this many steps; its first gives a tenth of the share


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


class CheckKind(str, Enum):
    """What a probe asks."""

    ARP = "arp"  # is the host there?
    TCP = "tcp"  # does it take connections at the service's port?
    HTTP = "http"  # does it answer a GET with the right status?


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """How a server is checked. Raises ValueError, one sentence."""

    kind: CheckKind = CheckKind.ARP
    interval: float = 1.0  # s between probes of one server
    timeout: float = 0.5  # s an answer may take; at most `interval`
    rise: int = 1
    fall: int = 2
    path: str = "/"  # of an HTTP check
    status: int = 200  # of an HTTP check: what counts as an answer
    slow_start: float = 0.0  # s in which the share of a server that came up grows to its whole; 0: at once

    def __post_init__(self) -> None:
        if not 0 < self.timeout <= self.interval:
            raise ValueError("health: the time-out must be above 0 and at most the interval")
        if self.rise < 1 or self.fall < 1:
            raise ValueError("health: rise and fall must be 1 or more")
        if self.slow_start < 0:
            raise ValueError("health: a slow start can't take less than 0 s")
        if not (self.path.startswith("/") and len(self.path) <= MAX_PATH and all("!" <= c <= "~" for c in self.path)):
            raise ValueError(f"health: path {self.path!r} must begin with / and be up to {MAX_PATH} visible characters")
        if not 100 <= self.status <= 599:
            raise ValueError(f"health: status {self.status} isn't in 100 to 599")


@dataclass(slots=True)
class Probes:
    """What became of one server's probes; counts only grow. Those that were forgotten (`probe_now`) are sent alone."""

    sent: int = 0
    answered: int = 0
    failed: int = 0  # refused, wrong, or not in time
    late: int = 0  # answers after their probe was closed


class Health:
    """One server's state. Each probe is closed once: by its answer or at its time-out; a late answer counts nothing."""

    __slots__ = (
        "_answers",
        "_deadline",
        "_next_probe",
        "changed_at",
        "flaps",
        "misses",
        "probes",
        "settings",
        "state",
    )

    def __init__(self, settings: HealthSettings) -> None:
        self.settings = settings
        self.state = State.UNKNOWN
        self.probes = Probes()
        self.misses = 0  # in a row
        self.flaps = 0  # how often it went down that was up
        self.changed_at: float | None = None  # s, of the last change of `state`
        self._answers = 0
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
        self.probes.sent += 1
        return True

    def asked(self, now: float) -> bool:
        """Whether a probe is open: only then is an answer one."""
        return self._deadline is not None and now <= self._deadline

    def answered(self, now: float) -> bool:
        """An answer came. True if the state changed."""
        if not self.asked(now):
            return False
        self._deadline = None
        self.misses = 0
        self._answers += 1
        self.probes.answered += 1
        return self._answers >= self.settings.rise and self._apply(Signal.ROSE, now)

    def failed(self, now: float) -> bool:
        """A wrong answer came, or a refusal: no need to wait for the time-out. True if the state changed."""
        return self.asked(now) and self._missed(now)

    def timed_out(self, now: float) -> bool:
        """Close an open probe whose time is over. True if the state changed."""
        return self.overdue(now) and self._missed(now)

    def overdue(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline

    def link_down(self, now: float) -> bool:
        """The port it hangs on went down: no need to wait for probes. True if the state changed."""
        self._deadline = None
        self._answers = 0
        return self._apply(Signal.FELL, now)

    def probe_now(self) -> None:
        """Something changed: the next probe is due at once, an open one is forgotten."""
        self._next_probe = 0.0
        self._deadline = None

    def ramp(self, now: float) -> int:
        """How much of its share the server is to get: 1 to RAMP_FULL, growing evenly over the slow start."""
        if self.state is not State.UP or self.changed_at is None or self.settings.slow_start <= 0:
            return RAMP_FULL
        return min(RAMP_FULL, 1 + int(RAMP_FULL * (now - self.changed_at) / self.settings.slow_start))

    def _missed(self, now: float) -> bool:
        self._deadline = None
        self._answers = 0
        self.misses += 1
        self.probes.failed += 1
        return self.misses >= self.settings.fall and self._apply(Signal.FELL, now)

    def _apply(self, signal: Signal, now: float) -> bool:
        after = TRANSITIONS[self.state].get(signal)
        if after is None:
            return False
        self.flaps += self.state is State.UP
        self.state = after
        self.changed_at = now
        return True
