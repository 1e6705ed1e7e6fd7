"""What ovs-vswitchd's log says about connections, and its words about a connection tracker."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.agent.openvswitch import OpenVSwitch, read_connections, read_hash, read_misfits, read_tracker, run
from lab.agent.refusal import Refusal

LINE = "2026-11-25T03:27:19.116Z|00045|rconn|DBG|s1<->tcp:127.0.0.1:6633: entering "
CONNECTED = LINE + "ACTIVE\n"
CLOSED = LINE + "BACKOFF\n"


@pytest.mark.parametrize(
    ("lines", "connected"),
    [
        ([LINE + "CONNECTING"], False),
        ([LINE + "CONNECTING", CONNECTED], True),
        ([CONNECTED, LINE + "IDLE"], True),
        ([CONNECTED, CLOSED], False),
        ([CONNECTED, CLOSED, LINE + "CONNECTING", CONNECTED], True),
        ([CONNECTED, LINE + "VOID"], False),
        ([CONNECTED, CLOSED.replace("tcp:127.0.0.1:6633", "unix#3")], True),  # ovs-ofctl is no controller
    ],
)
def test_the_last_word_about_a_switch_counts(lines: list[str], connected: bool) -> None:
    known: dict[str, bool] = {}
    read_connections(lines, known)
    assert known == {"s1": connected}


def test_other_lines_of_the_log_say_nothing() -> None:
    known: dict[str, bool] = {}
    read_connections(["2026-11-25T03:27:19Z|00001|bridge|INFO|bridge s1: added interface", "", "rconn"], known)
    assert known == {}


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    log = tmp_path / "openvswitch" / "ovs-vswitchd.log"
    log.parent.mkdir()
    log.write_text(CONNECTED + CLOSED[:-6])
    ovs = OpenVSwitch(tmp_path)
    assert ovs.connected(["s1", "s2"]) == {"s1": True, "s2": False}
    with log.open("a") as more:
        more.write(CLOSED[-6:])
    assert ovs.connected(["s1"]) == {"s1": False}


def test_a_switch_of_an_earlier_network_is_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "openvswitch" / "ovs-vswitchd.log"
    log.parent.mkdir()
    log.write_text(CONNECTED)
    ovs = OpenVSwitch(tmp_path)
    ovs.forget()
    assert ovs.connected(["s1"]) == {"s1": False}


def test_waiting_for_a_controller_ends_in_time_or_when_told(tmp_path: Path) -> None:
    log = tmp_path / "openvswitch" / "ovs-vswitchd.log"
    log.parent.mkdir()
    log.write_text(CONNECTED)
    ovs, give_up = OpenVSwitch(tmp_path), threading.Event()
    assert ovs.wait_connected(["s1"], 60, give_up) == []
    assert ovs.wait_connected(["s1", "s2"], 0.05, give_up) == ["s2"]
    give_up.set()
    assert ovs.wait_connected(["s2"], 60, give_up) == ["s2"]


NO_VERSION = (
    "2026-11-25T03:27:19.117Z|00046|vconn|WARN|tcp:127.0.0.1:6633: version negotiation failed "
    "(we support versions 0x03, 0x04, peer supports version 0x01)\n"
    "2026-11-25T03:27:19.118Z|00047|rconn|WARN|s2<->tcp:127.0.0.1:6633: connection dropped (Protocol error)\n"
)


def test_d34_switch_without_a_common_version_is_named_at_once(tmp_path: Path) -> None:
    """POX says nothing, and the switch goes on trying."""
    log = tmp_path / "openvswitch" / "ovs-vswitchd.log"
    log.parent.mkdir()
    log.write_text(CONNECTED + NO_VERSION)
    ovs = OpenVSwitch(tmp_path)
    assert ovs.wait_connected(["s1", "s2"], 60, threading.Event()) == ["s2"]
    said = ovs.misfit(["s2"])
    assert said.startswith("s2 can't use this controller: it speaks OpenFlow 1.2, 1.3, the controller 1.0; ")
    assert ovs.misfit(["s1"]) == ""


def test_a_connection_that_dropped_for_another_reason_is_no_misfit(tmp_path: Path) -> None:
    misfits: dict[str, str] = {}
    read_misfits(NO_VERSION.splitlines()[1:], misfits)
    assert misfits == {}


def test_a_command_that_fails_is_told_in_its_own_words() -> None:
    with pytest.raises(Refusal, match=r"ls failed: .*/nowhere") as refused:
        run(["ls", "/nowhere"])
    assert refused.value.status == 500
    with pytest.raises(Refusal, match="nosuchprogram is not installed"):
        run(["nosuchprogram"])


FEATURES = "Ufid: Yes\nRecirc: Yes\nCT state: Yes\nCT zone: Yes\nCT mark: No\nCT state NAT: Yes\nMax VLAN headers: 1\n"


@pytest.mark.parametrize("lacking", ["Recirc", "CT state", "CT zone", "CT state NAT"])
def test_tracker_is_there_only_with_all_that_translating_needs(lacking: str) -> None:
    assert read_tracker(FEATURES) is True
    assert read_tracker(FEATURES.replace(f"{lacking}: Yes", f"{lacking}: No")) is False


@pytest.mark.parametrize("said", ["", "Recirc: Yes\n", "dpif/show-dp-features: unknown command"])
def test_tracker_of_which_nothing_is_said_is_unknown(said: str) -> None:
    assert read_tracker(said) is None


def test_tracker_is_unknown_where_open_vswitch_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert OpenVSwitch(tmp_path).abilities("s1") == {"tracker": None, "hash": None}


@pytest.mark.parametrize(
    ("said", "able"), [("Max dp_hash algorithm: 1\n", True), ("Max dp_hash algorithm: 0\n", False)]
)
def test_a_datapath_says_whether_it_hashes_addresses_and_ports_itself(said: str, able: bool) -> None:
    assert read_hash(FEATURES + said) is able
    assert read_hash(FEATURES) is None
