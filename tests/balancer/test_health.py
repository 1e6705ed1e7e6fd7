"""Health as strip charts: '+' a probe answered, '-' one that was not; U up, D down after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.health import TRANSITIONS, Health, HealthSettings, Signal, State


def chart(probes: str, rise: int = 1, fall: int = 2, up: bool = False) -> str:
    """Probe at each second; what its state is before the next."""
    health = Health(HealthSettings(rise=rise, fall=fall))
    if up:
        health.state = State.UP
    states, now = [], 100.0
    for probe in probes:
        assert health.probe_due(now)
        if probe == "+":
            health.answered(now + 0.2)
        health.timed_out(now + 0.5)
        states.append("U" if health.state is State.UP else "D")
        now += 1.0
    return "".join(states)


@pytest.mark.parametrize(
    ("probes", "states"),
    [("+-+-+-", "UUUUUU"), ("+--", "UUD"), ("+---++", "UUDDUU"), ("+-+--+", "UUUUDU"), ("---+", "DDDU")],
)
def test_one_lost_probe_changes_nothing(probes: str, states: str) -> None:
    assert chart(probes, rise=1, fall=2) == states


@pytest.mark.parametrize(
    ("rise", "fall", "probes", "states"),
    [
        (2, 2, "+++--", "DUUUD"),
        (2, 2, "+-+-++", "DDDDDU"),
        (3, 1, "+++-+++", "DDUDDDU"),
        (1, 3, "+--+---", "UUUUUUD"),
        (2, 3, "++--+---++", "DUUUUUUDDU"),
    ],
)
def test_up_after_rise_answers_down_after_fall_misses(rise: int, fall: int, probes: str, states: str) -> None:
    assert chart(probes, rise, fall) == states


@given(st.text("+-", max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_state_is_what_counting_in_a_row_says(probes: str, rise: int, fall: int) -> None:
    up, expected = False, ""
    for n in range(1, len(probes) + 1):
        if probes[:n].endswith("+" * rise):
            up = True
        elif probes[:n].endswith("-" * fall):
            up = False
        expected += "U" if up else "D"
    assert chart(probes, rise, fall) == expected


def test_first_probe_is_due_at_once_and_the_next_at_the_interval() -> None:
    health = Health(HealthSettings(interval=2.0, timeout=0.5))
    assert health.probe_due(50.0)
    assert not health.probe_due(50.0)
    assert not health.probe_due(51.9)
    assert health.probe_due(52.0)


def test_late_answer_counts_nothing() -> None:
    health = Health(HealthSettings(rise=1))
    health.probe_due(10.0)
    assert not health.answered(10.6)
    health.timed_out(10.6)
    assert not health.answered(10.7)
    assert health.state is State.UNKNOWN


def test_a_probes_second_answer_counts_nothing() -> None:
    health = Health(HealthSettings(rise=2))
    health.probe_due(10.0)
    assert not health.answered(10.1)
    assert not health.answered(10.2)
    assert health.state is State.UNKNOWN


def test_link_down_is_down_at_once_and_said_once() -> None:
    health = Health(HealthSettings(rise=1, fall=5))
    health.probe_due(10.0)
    assert health.answered(10.1)
    assert health.link_down(10.1)
    assert health.state is State.DOWN
    assert not health.link_down(10.1)


def test_link_down_forgets_the_open_probe() -> None:
    health = Health(HealthSettings())
    health.probe_due(10.0)
    health.link_down(10.1)
    assert not health.answered(10.1)
    assert not health.timed_out(11.0)


def test_probe_now_makes_a_probe_due_and_charges_no_miss() -> None:
    health = Health(HealthSettings(fall=1))
    health.probe_due(10.0)
    health.answered(10.1)
    health.probe_due(11.0)
    health.probe_now()
    assert not health.timed_out(11.6)
    assert health.probe_due(11.6)
    assert health.state is State.UP


def test_next_timer_is_the_deadline_then_the_next_probe() -> None:
    health = Health(HealthSettings(interval=1.0, timeout=0.5))
    health.probe_due(10.0)
    assert health.next_timer() == 10.5
    health.answered(10.1)
    assert health.next_timer() == 11.0


def test_each_state_has_a_row_and_each_signal_leads_somewhere() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {signal for row in TRANSITIONS.values() for signal in row} == set(Signal)


@pytest.mark.parametrize(
    "wrong", [{"timeout": 0.0}, {"timeout": 2.0}, {"interval": -1.0}, {"rise": 0}, {"fall": 0}], ids=str
)
def test_settings_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="health: "):
        HealthSettings(**wrong)  # type: ignore[arg-type]
