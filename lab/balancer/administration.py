"""What an operator wants of a server, apart from its health: a member gets new connections while it is READY and up.

    READY     gets connections
    DRAINING  keeps those it has, gets no new ones
    MAINT     drained: no connection is left
    GONE      removed: its connections are over; a server that returns is added anew

Rule: every transition stands in TRANSITIONS; a pair that isn't there changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Admin(str, Enum):
    READY = "ready"
    DRAINING = "draining"
    MAINT = "maint"
    GONE = "gone"


class Order(Enum):
    DRAIN = 1
    ENABLE = 2
    EMPTY = 3  # nobody's order: its last connection has ended
    REMOVE = 4


TRANSITIONS: Final[Mapping[Admin, Mapping[Order, Admin]]] = {
    Admin.READY: {Order.DRAIN: Admin.DRAINING, Order.REMOVE: Admin.GONE},
    Admin.DRAINING: {Order.ENABLE: Admin.READY, Order.EMPTY: Admin.MAINT, Order.REMOVE: Admin.GONE},
    Admin.MAINT: {Order.ENABLE: Admin.READY, Order.REMOVE: Admin.GONE},
    Admin.GONE: {},
}


def after(state: Admin, order: Order) -> Admin:
    return TRANSITIONS[state].get(order, state)
