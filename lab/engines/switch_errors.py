"""Error messages of switches: named, counted, and logged once per kind and interval.

A switch that refuses one command may refuse a thousand (a full table does), so the log gets a line per kind every
INTERVAL_S with how many there were. Rule: an error changes nothing else; whatever number comes, it has a name.
Source: OpenFlow 1.0.0, 5.4.4, and 1.3.5, 7.5.4 (ofp_error_type and its codes); Open vSwitch 3.1, ofp-errors.h.
"""

from __future__ import annotations

import logging
import struct
from collections import Counter
from collections.abc import Mapping
from typing import Final

from lab.engines.openflow import OF10

INTERVAL_S: Final = 10.0
_NICIRA_10, _EXPERIMENTER_13 = 0xB0C2, 0xFFFF  # types of errors that aren't OpenFlow's own
_NICIRA: Final = 0x00002320
_TRACKER: Final = "nicira/no_connection_tracker"
_NICIRA_CODES: Final[Mapping[tuple[int, ...], str]] = {  # 1.0: type and code; 1.3: code
    (1, 264): _TRACKER,  # of a match
    (1, 265): _TRACKER,  # of an action
    (43,): _TRACKER,
    (42,): _TRACKER,
}
_ADVICE: Final[Mapping[str, str]] = {
    _TRACKER: "; its datapath has none, and mode tracked can't work without: use --mode reactive",
}

_Kinds = Mapping[int, tuple[str, tuple[str, ...]]]  # type -> its name, the names of its codes from 0 on

_BAD_REQUEST_10 = "bad_version bad_type bad_stat bad_vendor bad_subtype eperm bad_len buffer_empty buffer_unknown"
_BAD_REQUEST_13 = (
    "bad_version bad_type bad_multipart bad_experimenter bad_exp_type eperm bad_len buffer_empty buffer_unknown "
    "bad_table_id is_slave bad_port bad_packet multipart_buffer_overflow"
)
_BAD_ACTION_10 = "bad_type bad_len bad_vendor bad_vendor_type bad_out_port bad_argument eperm too_many bad_queue"
_BAD_ACTION_13 = (
    "bad_type bad_len bad_experimenter bad_exp_type bad_out_port bad_argument eperm too_many bad_queue bad_out_group "
    "match_inconsistent unsupported_order bad_tag bad_set_type bad_set_len bad_set_argument"
)
_BAD_INSTRUCTION = (
    "unknown_inst unsup_inst bad_table_id unsup_metadata unsup_metadata_mask bad_experimenter bad_exp_type "
    "bad_len eperm"
)
_BAD_MATCH = (
    "bad_type bad_len bad_tag bad_dl_addr_mask bad_nw_addr_mask bad_wildcards bad_field bad_value bad_mask bad_prereq "
    "dup_field eperm"
)
_FLOW_MOD_10 = "all_tables_full overlap eperm bad_emerg_timeout bad_command unsupported"
_FLOW_MOD_13 = "unknown table_full bad_table_id overlap eperm bad_timeout bad_command bad_flags"


def _kinds(*rows: tuple[int, str, str]) -> _Kinds:
    return {number: (name, tuple(codes.split())) for number, name, codes in rows}


_KINDS_10: Final = _kinds(
    (0, "hello_failed", "incompatible eperm"),
    (1, "bad_request", _BAD_REQUEST_10),
    (2, "bad_action", _BAD_ACTION_10),
    (3, "flow_mod_failed", _FLOW_MOD_10),
    (4, "port_mod_failed", "bad_port bad_hw_addr"),
    (5, "queue_op_failed", "bad_port bad_queue eperm"),
    (_NICIRA_10, "nicira", ""),
)
_KINDS_13: Final = _kinds(
    (0, "hello_failed", "incompatible eperm"),
    (1, "bad_request", _BAD_REQUEST_13),
    (2, "bad_action", _BAD_ACTION_13),
    (3, "bad_instruction", _BAD_INSTRUCTION),
    (4, "bad_match", _BAD_MATCH),
    (5, "flow_mod_failed", _FLOW_MOD_13),
    (6, "group_mod_failed", ""),
    (7, "port_mod_failed", "bad_port bad_hw_addr bad_config bad_advertise eperm"),
    (8, "table_mod_failed", "bad_table bad_config eperm"),
    (9, "queue_op_failed", "bad_port bad_queue eperm"),
    (10, "switch_config_failed", "bad_flags bad_len eperm"),
    (11, "role_request_failed", "stale unsup bad_role"),
    (12, "meter_mod_failed", ""),
    (13, "table_features_failed", ""),
    (_EXPERIMENTER_13, "experimenter", ""),
)


def name(version: int, kind: int, code: int | None, data: bytes = b"") -> str:
    """Of an error, as `flow_mod_failed/table_full`; numbers where there is no name. `code` None: it has none.

    data: what follows in the message. Of Nicira's errors, vendor, type and code under 1.0; the vendor under 1.3."""
    if kind == _NICIRA_10 and version == OF10 and len(data) >= 8:
        vendor, *numbers = struct.unpack_from("!IHH", data)
        return _nicira(vendor, tuple(numbers))
    if kind == _EXPERIMENTER_13 and version != OF10 and code is not None and len(data) >= 4:
        return _nicira(int.from_bytes(data[:4], "big"), (code,))
    known, codes = (_KINDS_10 if version == OF10 else _KINDS_13).get(kind, (f"type_{kind}", ()))
    if code is None:
        return known
    return f"{known}/{codes[code] if code < len(codes) else code}"


def _nicira(vendor: int, numbers: tuple[int, ...]) -> str:
    known = _NICIRA_CODES.get(numbers) if vendor == _NICIRA else None
    whose = "nicira" if vendor == _NICIRA else f"vendor_{vendor:#x}"
    return known or "/".join((whose, *map(str, numbers)))


class SwitchErrors:
    """What switches have refused. `counts` only grows."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.counts: Counter[str] = Counter()
        self._said: dict[tuple[int, str], tuple[float, int]] = {}  # when a line was logged, errors since then

    def add(self, dpid: int, error: str, now: float) -> None:
        self.counts[error] += 1
        last, silent = self._said.get((dpid, error), (-INTERVAL_S, 0))
        if now - last < INTERVAL_S:
            self._said[dpid, error] = (last, silent + 1)
            return
        self._said[dpid, error] = (now, 0)
        more = f" ({silent} more like it before)" if silent else ""
        self._log.warning("switch %d refused a command: %s%s%s", dpid, error, more, _ADVICE.get(error, ""))
