"""Ending a run from outside: raised once, in the main thread, whatever it waits for; never during the clean-up."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from lab.driver.guard import TICK_S, Guard, Interrupted, TimeLimit, wait_until


def send_soon(number: int) -> None:
    threading.Timer(0.02, os.kill, (os.getpid(), number)).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_wait(number: signal.Signals) -> None:
    with Guard() as guard:
        send_soon(number)
        with pytest.raises(Interrupted):
            threading.Event().wait(10)
    assert guard.caught == number


def test_the_time_limit_ends_a_wait() -> None:
    with Guard() as guard:
        guard.limit(0.02)
        with pytest.raises(TimeLimit):
            threading.Event().wait(10)
    assert guard.caught is None


def test_a_second_signal_is_only_remembered() -> None:
    with Guard() as guard:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the user presses Ctrl-C again: the clean-up goes on
        signal.raise_signal(signal.SIGTERM)
    assert guard.caught == signal.SIGINT


def test_nothing_is_raised_behind_the_shield() -> None:
    with Guard() as guard:
        guard.limit(0.01)
        guard.shield()
        assert not wait_until(lambda: False, 2 * TICK_S)
        signal.raise_signal(signal.SIGTERM)
    assert guard.caught == signal.SIGTERM


def test_handlers_and_timer_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    with Guard() as guard:
        guard.limit(60)
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
