"""Ends a run from outside: Ctrl-C, SIGTERM, a closed terminal or the time limit, as an exception in the main thread.

A signal's handler runs between any two steps of the main thread, and so ends a wait of any kind, in whoever's code. One
that arrives just before a wait begins would only be seen after it, so a timer wakes the main thread now and then.
The one rule: it raises once. From then on, or from `shield` on, signals are only remembered, so that whoever cleans up
is never interrupted, however often the user presses Ctrl-C.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

TICK_S: Final = 0.2  # at most so late is a signal or the time limit seen
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """The user, or who started us, wants us to end. Not an Exception: code in between that mends errors must let go."""


class TimeLimit(BaseException):
    """The run took longer than it may."""


class Guard:
    """`with Guard() as guard:` in the main thread. There is no time limit until one is set."""

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None  # the first signal that asked us to end, raised or not
        self._deadline: float | None = None
        self._shielded = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Guard:
        for number in (*ENDING, signal.SIGALRM):
            self._before[number] = signal.signal(number, self._fire)
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def limit(self, seconds: float) -> None:
        """So long from now, and no longer."""
        self._deadline = time.monotonic() + seconds

    def shield(self) -> None:
        """From here on nothing is raised any more."""
        self._shielded = True

    def _fire(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._raise(TimeLimit)
            return
        if self.caught is None:
            self.caught = signal.Signals(number)
        self._raise(Interrupted)

    def _raise(self, kind: type[BaseException]) -> None:
        if not self._shielded:
            self._shielded = True
            raise kind


def wait_until(ready: Callable[[], bool], seconds: float, pause_s: float = 0.01) -> bool:
    """Ask `ready()` until it says yes, `seconds` long at most; whether it did."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True
