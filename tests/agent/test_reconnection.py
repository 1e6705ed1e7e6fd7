"""Which switches are made to try again, and with what: Open vSwitch's answers are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from lab.agent import reconnection
from lab.agent.reconnection import Reconnection, other_spelling
from lab.agent.refusal import Refusal

LAB, AGAIN, USERS = "tcp:127.0.0.1:6633", "tcp:127.0.0.1:06633", "tcp:127.0.0.1:6653"


class Switches:
    """Open vSwitch, as far as it is asked here."""

    def __init__(self) -> None:
        self.fine = {"s1": True, "s2": True}
        self.target = {"s1": LAB, "s2": LAB}
        self.set: list[Mapping[str, str]] = []

    def connected(self, switches: Sequence[str]) -> dict[str, bool]:
        return {switch: self.fine[switch] for switch in switches}

    def targets(self, switches: Sequence[str]) -> dict[str, str]:
        return {switch: self.target[switch] for switch in switches}

    def set_controllers(self, targets: Mapping[str, str]) -> None:
        self.set.append(targets)
        self.target.update(targets)


@pytest.fixture
def ovs() -> Switches:
    return Switches()


@pytest.fixture
def watch(ovs: Switches, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reconnection]:
    """It looks when it is told to."""
    monkeypatch.setattr(reconnection, "EVERY_S", 3600)
    made = Reconnection(ovs, ["s1", "s2"], LAB)  # type: ignore[arg-type]
    yield made
    made.stop()


def test_connected_switches_are_left_alone(ovs: Switches, watch: Reconnection) -> None:
    watch.look()
    assert ovs.set == []


def test_a_lone_switch_gets_the_other_spelling_each_time(ovs: Switches, watch: Reconnection) -> None:
    ovs.fine["s2"] = False
    watch.look()
    watch.look()
    watch.look()
    assert ovs.set == [{"s2": AGAIN}, {"s2": LAB}, {"s2": AGAIN}]


def test_a_switch_with_a_controller_of_the_users_is_the_users(ovs: Switches, watch: Reconnection) -> None:
    ovs.fine = {"s1": False, "s2": False}
    ovs.target["s1"] = USERS
    watch.look()
    assert ovs.set == [{"s2": AGAIN}]


def test_it_goes_on_after_a_refusal(ovs: Switches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open vSwitch doesn't answer while it is restarted."""
    looks: list[str] = []

    def refuse(switches: Sequence[str]) -> dict[str, bool]:
        looks.append("a look")
        raise Refusal(500, "ovs-vsctl failed")

    monkeypatch.setattr(reconnection, "EVERY_S", 0.001)
    monkeypatch.setattr(ovs, "connected", refuse)
    watch = Reconnection(ovs, ["s1"], LAB)  # type: ignore[arg-type]
    while len(looks) < 3:
        pass
    watch.stop()


@pytest.mark.parametrize("target", ["tcp:10.1.2.3:6633", "tcp:[fd00::1]:6633"])
def test_the_other_spelling_names_the_same_place(target: str) -> None:
    address, _, port = other_spelling(target).rpartition(":")
    assert f"{address}:{int(port)}" == target != other_spelling(target)
