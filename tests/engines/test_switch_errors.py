"""Error messages of switches: names, counts, and a log that a thousand of them don't fill."""

from __future__ import annotations

import logging

import pytest

from lab.engines.openflow import OF10, OF13
from lab.engines.switch_errors import INTERVAL_S, SwitchErrors, name


@pytest.mark.parametrize(
    ("version", "kind", "code", "called"),
    [
        (OF10, 3, 0, "flow_mod_failed/all_tables_full"),
        (OF13, 5, 1, "flow_mod_failed/table_full"),
        (OF13, 4, 9, "bad_match/bad_prereq"),
        (OF13, 2, 15, "bad_action/bad_set_argument"),
        (OF13, 3, 8, "bad_instruction/eperm"),
        (OF10, 1, 8, "bad_request/buffer_unknown"),
        (OF13, 1, 999, "bad_request/999"),
        (OF13, 77, 3, "type_77/3"),
        (OF13, 0xFFFF, None, "experimenter"),
    ],
)
def test_whatever_number_comes_has_a_name(version: int, kind: int, code: int | None, called: str) -> None:
    assert name(version, kind, code) == called


@pytest.mark.parametrize(
    ("version", "kind", "code", "data", "called"),
    [
        (OF10, 0xB0C2, 0, "0000232000010109", "nicira/no_connection_tracker"),
        (OF10, 0xB0C2, 0, "0000232000010108010400480000", "nicira/no_connection_tracker"),
        (OF13, 0xFFFF, 42, "00002320", "nicira/no_connection_tracker"),
        (OF13, 0xFFFF, 43, "00002320", "nicira/no_connection_tracker"),
        (OF10, 0xB0C2, 0, "0000232000020201", "nicira/2/513"),
        (OF13, 0xFFFF, 42, "00000001", "vendor_0x1/42"),
        (OF10, 0xB0C2, 0, "00002320000101", "nicira/0"),  # cut
        (OF13, 0xFFFF, 42, "0000", "experimenter/42"),
    ],
)
def test_switchs_own_errors_are_told_by_what_follows(
    version: int, kind: int, code: int, data: str, called: str
) -> None:
    assert name(version, kind, code, bytes.fromhex(data)) == called


def test_missing_connection_tracker_is_told_with_the_way_out(caplog: pytest.LogCaptureFixture) -> None:
    SwitchErrors(logging.getLogger("test")).add(1, "nicira/no_connection_tracker", now=50.0)
    (line,) = caplog.messages
    assert line.startswith("switch 1 refused a command: nicira/no_connection_tracker; its datapath has none")
    assert line.endswith("use --mode reactive")


def test_one_line_per_kind_and_interval_and_every_error_counted(caplog: pytest.LogCaptureFixture) -> None:
    errors = SwitchErrors(logging.getLogger("test"))
    for _ in range(100):
        errors.add(1, "flow_mod_failed/table_full", now=50.0)
    errors.add(1, "bad_match/eperm", now=50.0)
    errors.add(2, "bad_match/eperm", now=50.0)
    errors.add(1, "flow_mod_failed/table_full", now=50.0 + INTERVAL_S)
    assert [record.getMessage() for record in caplog.records] == [
        "switch 1 refused a command: flow_mod_failed/table_full",
        "switch 1 refused a command: bad_match/eperm",
        "switch 2 refused a command: bad_match/eperm",
        "switch 1 refused a command: flow_mod_failed/table_full (99 more like it before)",
    ]
    assert errors.counts == {"flow_mod_failed/table_full": 101, "bad_match/eperm": 2}
