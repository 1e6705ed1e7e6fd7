"""What an operator wants of a server: the table of states."""

from __future__ import annotations

import pytest

from lab.balancer.administration import TRANSITIONS, Admin, Order, after

LETTERS = {"d": Order.DRAIN, "e": Order.ENABLE, "0": Order.EMPTY, "x": Order.REMOVE}


def test_each_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(Admin)


@pytest.mark.parametrize(
    ("orders", "states"),
    [("d0e", "DMR"), ("de", "DR"), ("0e", "RR"), ("dd0d", "DDMM"), ("xdex", "GGGG"), ("dx0", "DGG"), ("d0x", "DMG")],
)
def test_orders_in_states_out(orders: str, states: str) -> None:
    state, seen = Admin.READY, ""
    for letter in orders:
        state = after(state, LETTERS[letter])
        seen += state.name[0]
    assert seen == states
