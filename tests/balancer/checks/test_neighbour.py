"""A server's MAC as a table: what is believed of whom, and when."""

from __future__ import annotations

import pytest

from lab.balancer.checks.neighbour import Claim, Neighbour

OWN, OTHER = 0x02000A000001, 0x02000A000006


def known(silent: int = 0) -> Neighbour:
    """OWN is pinned and has left `silent` questions unanswered; another MAC may take over after 2."""
    neighbour = Neighbour(fall=2)
    neighbour.asked(1.0)
    assert neighbour.claimed(OWN, 1.0) is Claim.LEARNED
    for _ in range(silent):
        neighbour.asked(2.0)
        neighbour.closed()
    return neighbour


@pytest.mark.parametrize(
    ("silent", "asked", "mac", "claim", "after"),
    [
        (0, True, OWN, Claim.CONFIRMED, OWN),
        (0, True, OTHER, Claim.FOREIGN, OWN),
        (0, False, OWN, Claim.LATE, OWN),
        (0, False, OTHER, Claim.FOREIGN, OWN),
        (1, True, OTHER, Claim.FOREIGN, OWN),
        (1, True, OWN, Claim.CONFIRMED, OWN),
        (2, True, OTHER, Claim.LEARNED, OTHER),
        (2, True, OWN, Claim.CONFIRMED, OWN),
        (2, False, OTHER, Claim.LATE, OWN),
    ],
)
def test_who_is_believed(silent: int, asked: bool, mac: int, claim: Claim, after: int) -> None:
    neighbour = known(silent)
    if asked:
        neighbour.asked(5.5)
    assert neighbour.claimed(mac, 5.0) is claim
    assert neighbour.mac == after


def test_answer_after_its_time_is_none() -> None:
    neighbour = Neighbour(fall=1)
    neighbour.asked(1.5)
    assert neighbour.claimed(OWN, 1.6) is Claim.LATE
    assert neighbour.mac == 0


def test_a_questions_first_answer_closes_it() -> None:
    neighbour = known(silent=2)
    neighbour.asked(5.5)
    assert neighbour.claimed(OTHER, 5.0) is Claim.LEARNED
    assert neighbour.claimed(OWN, 5.1) is Claim.FOREIGN
    neighbour.closed()
    assert neighbour.unanswered == 0


def test_challenge_that_nobody_answers_ends_the_pin_and_an_answered_one_does_not() -> None:
    neighbour = known()
    assert neighbour.challenge(3.5)
    assert not neighbour.challenge(3.7)  # it is being asked
    assert neighbour.proved()
    neighbour.expire(4.0)
    assert not neighbour.lost
    assert neighbour.challenge(5.5)
    neighbour.expire(5.4)
    assert not neighbour.lost
    neighbour.expire(5.6)
    assert neighbour.lost


def test_what_is_forgotten_counts_no_silence() -> None:
    neighbour = known(silent=1)
    neighbour.asked(5.5)
    neighbour.challenge(5.5)
    neighbour.forget()
    neighbour.closed()
    neighbour.expire(9.0)
    assert not neighbour.lost
