"""OpenFlow bytes: known ones, what Open vSwitch's own printer reads in them, and the way back for every command."""

from __future__ import annotations

import shutil
import struct
import subprocess

import pytest
from helpers.openflow_reader import FIELDS, Read, Reader
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.packet import is_ipv6
from lab.balancer.rules import (
    FLOOD,
    IN_PORT,
    Action,
    AddRule,
    AskRules,
    DeleteGroups,
    DeleteRules,
    Examine,
    FinTimeout,
    FlushTracked,
    GoTo,
    Output,
    SendPacket,
    SetField,
    SetGroup,
    ToController,
    ToGroup,
    Track,
)
from lab.engines import openflow
from lab.engines.openflow import OF10, OF13, OF15

VERSIONS = {"1.0": OF10, "1.3": OF13, "1.5": OF15}
TCP = {"eth_type": 0x0800, "ip_proto": 6}
SYN_TO_SERVICE = AddRule(
    table=1,
    priority=300,
    match={**TCP, "ip_dst": 0x0A000101, "tcp_dst": 80, "tcp_flags": (2, 0x12)},
    actions=(ToController(),),
    cookie=0x1000000000000000,
)
MISSED = AddRule(
    table=1,
    priority=50,
    match={**TCP, "ip_dst": 0x0A000101, "tcp_dst": 80},
    actions=(Examine("ip_ttl"), ToController()),
    cookie=0x1000000000000000,
)
CONNECTION = AddRule(
    table=1,
    priority=200,
    match={**TCP, "ip_src": 0x0A000003, "ip_dst": 0x0A000101, "tcp_src": 40001, "tcp_dst": 80},
    actions=(FinTimeout(1), SetField("eth_dst", 0x02000A000001), SetField("ip_dst", 0x0A000001), GoTo(2)),
    cookie=0x40010A0000039C41,
    idle_timeout=10,
    notify=True,
)
LEARN = AddRule(table=0, priority=0, match={}, actions=(ToController(64, learn=True), GoTo(1)), cookie=1)
REPLY = AddRule(
    table=1,
    priority=100,
    match={**TCP, "ip_src": 0x0A000001, "tcp_src": 80},
    actions=(Examine("tcp_dst"), SetField("ip_src", 0x0A000101), Output(IN_PORT), Output(3), Output(FLOOD)),
    cookie=1,
)
FORGET = DeleteRules(table=1, cookie=0x4001000000000000, cookie_mask=0xFFFF000000000000)
NEW = AddRule(
    table=3,
    priority=30,
    match={"eth_type": 0x0800, "ct_state": (0x21, 0x21)},
    actions=(Track(10, 4), Track(10, commit=True, dst=0x0A000001), Track(11, commit=True, src=0x0A000101)),
    cookie=1,
)
PINNED = SetGroup(group=3, buckets=((Track(10, 4, commit=True, dst=0x0A000001),),) * 2)
BY_CLIENT = SetGroup(group=4, buckets=((SetField("ip_dst", 0x0A000001), GoTo(2)),), by="ip_src")
CHOSEN = AddRule(table=3, priority=31, match={"eth_type": 0x0800}, actions=(ToGroup(3),), cookie=1)
TCP6 = {"eth_type": 0x86DD, "ip_proto": 6}
SERVICE6, SERVER6 = 0xFD00 << 112 | 0x10001, 0xFD00 << 112 | 1
CONNECTION6 = AddRule(
    table=1,
    priority=200,
    match={**TCP6, "ipv6_src": 0xFD00 << 112 | 3, "ipv6_dst": SERVICE6, "tcp_src": 40001, "tcp_dst": (8000, 0xFFF8)},
    actions=(FinTimeout(1), SetField("ipv6_dst", SERVER6), GoTo(2)),
    cookie=1,
)
SOLICITED = AddRule(
    table=1,
    priority=400,
    match={"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 135, "icmpv6_code": 0, "nd_target": SERVICE6},
    actions=(ToController(), Track(10, commit=True, dst=SERVER6)),
    cookie=1,
)
NOTED = AddRule(
    table=6,
    priority=12,
    match={"eth_type": 0x0800, "ip_proto": 17, "ip_src": 0x0A000101, "reg0": 4095},
    actions=(GoTo(11), SetField("reg0", 7), Track(100, 6)),
    cookie=1,
)
NOT_KEPT = DeleteRules(cookie=0, cookie_mask=1 << 63)
ONE = DeleteRules(table=0, match={"in_port": 3, "eth_src": 0x02000A000003}, priority=10)


def test_known_bytes_of_a_packet_out_1_0() -> None:
    sent = SendPacket(data=b"frame", actions=(Output(IN_PORT),), in_port=3)
    expected = "010d001d 00000000 ffffffff 0003 0008 0000 0008 fff8 0000" + b"frame".hex()
    assert openflow.encode(sent, OF10) == bytes.fromhex(expected)


def test_known_bytes_of_a_packet_out_1_3() -> None:
    sent = SendPacket(data=b"frame", actions=(Output(FLOOD),))
    expected = (
        "040d002d 00000000 ffffffff fffffffd 0010 000000000000 0000 0010 fffffffb 0000 000000000000" + b"frame".hex()
    )
    assert openflow.encode(sent, OF13) == bytes.fromhex(expected)


def test_known_bytes_of_a_rule_1_0() -> None:
    expected = (
        "0104 0080 00000000 00002320 0000000d"  # vendor message, NXT_FLOW_MOD
        "1000000000000000 0100 0000 0000 012c"  # cookie; table 1, add; no time-outs; priority 300
        "ffffffff ffff 0000 0021 000000000000"  # no buffer, no out port, no flags, match of 33 bytes
        "00000602 0800 00000c01 06 00001004 0a000101 00001402 0050 00014504 0002 0012 00000000000000"
        "ffff 0010 00002320 0014 ffff 0000 01 00"  # NXAST_CONTROLLER: whole packet, reason "action"
    )
    raw = bytes.fromhex(expected)
    raw = raw[:2] + struct.pack("!H", len(raw)) + raw[4:]
    assert openflow.encode(SYN_TO_SERVICE, OF10) == raw


def test_known_bytes_of_a_rule_1_3() -> None:
    expected = (
        "040e 0000 00000000 1000000000000000 0000000000000000 01 00 0000 0000 012c"
        "ffffffff ffffffff ffffffff 0000 0000"
        "0001 0025 00000602 0800 00000c01 06 00001004 0a000101 00001402 0050 00014504 0002 0012 000000"
        "0004 0018 00000000"  # apply-actions
        "ffff 0010 00002320 0014 ffff 0000 01 00"
    )
    raw = bytes.fromhex(expected)
    raw = raw[:2] + struct.pack("!H", len(raw)) + raw[4:]
    assert openflow.encode(SYN_TO_SERVICE, OF13) == raw


@pytest.mark.parametrize(
    ("command", "of10", "of13"),
    [
        (
            AskRules(table=1),
            "0110 0038 00000000 0001 0000 003fffff" + "00" * 36 + "01 00 ffff",
            "0412 0038 00000000 0001 0000 00000000 01 000000 ffffffff ffffffff 00000000"
            "0000000000000000 0000000000000000 0001 0004 00000000",
        ),
        (
            FlushTracked(zone=10),
            "0104 0018 00000000 00002320 0000001d 000000000000 000a",
            "0404 0018 00000000 00002320 0000001d 000000000000 000a",
        ),
    ],
    ids=["ask", "flush"],
)
def test_known_bytes_of_questions_and_flushes(command: AskRules | FlushTracked, of10: str, of13: str) -> None:
    assert openflow.encode(command, OF10) == bytes.fromhex(of10)
    assert openflow.encode(command, OF13) == bytes.fromhex(of13)


def test_known_bytes_of_a_tracked_packet_out() -> None:
    sent = SendPacket(data=b"frame", actions=(Track(10, commit=True, dst=0x0A000001), Track(10, 6)), in_port=3)
    expected = (
        "010d 006d 00000000 ffffffff 0003 0058"
        "ffff 0030 00002320 0023 0001 00000000 000a ff 000000 0000"  # NXAST_CT: commit, zone 10, no table
        "ffff 0018 00002320 0024 0000 0002 0001 0a000001 00000000"  # NXAST_NAT: destination, one address
        "ffff 0028 00002320 0023 0000 00000000 000a 06 000000 0000"
        "ffff 0010 00002320 0024 0000 0000 0000"
    )
    assert openflow.encode(sent, OF10) == bytes.fromhex(expected) + b"frame"


def test_only_1_0_needs_a_greeting() -> None:
    assert openflow.greeting(OF10) == bytes.fromhex("01040018 00000000 00002320 0000000f 01 00000000000000")
    assert openflow.greeting(OF13) == b""


def test_rule_without_actions_drops() -> None:
    drop = AddRule(table=0, priority=20, match={"eth_src": 5}, actions=(), cookie=1)
    for version in VERSIONS.values():
        reader = Reader(version)
        if version == OF10:
            reader.read(openflow.greeting(OF10))
        assert reader.read(openflow.encode(drop, version)) == drop


def test_unknown_action_is_refused() -> None:
    with pytest.raises(TypeError, match="no encoding"):
        openflow.encode(SendPacket(data=b"", actions=("dance",)), OF13)  # type: ignore[arg-type]


# what Open vSwitch reads in it: a printer, which needs no switch

PRINTED = [
    (
        SYN_TO_SERVICE,
        ["ADD table:1 priority=300,tcp,nw_dst=10.0.1.1,tp_dst=80,tcp_flags=+syn-ack", "cookie:0x1000000000000000"],
    ),
    (MISSED, ["ADD table:1 priority=50,tcp,nw_dst=10.0.1.1,tp_dst=80", "NXM_NX_IP_TTL[]", "NXM_NX_REG0[0..7]"]),
    (
        CONNECTION,
        [
            "ADD table:1 priority=200,tcp,nw_src=10.0.0.3,nw_dst=10.0.1.1,tp_src=40001,tp_dst=80",
            "cookie:0x40010a0000039c41 idle:10 send_flow_rem",
            "fin_timeout(idle_timeout=1),",
            "resubmit(,2)",
        ],
    ),
    (NOTED, ["ADD table:6 priority=12,udp,reg0=0xfff,nw_src=10.0.1.1 ", "actions=resubmit(,11),", "0x7->"]),
    (CHOSEN, ["ADD table:3 priority=31,ip", "actions=group:3"]),
    (LEARN, ["ADD priority=0", "controller(reason=no_match,max_len=64),resubmit(,1)"]),
    (REPLY, ["ADD table:1 priority=100,tcp,nw_src=10.0.0.1,tp_src=80", "IN_PORT,output:3,FLOOD", "NXM_NX_REG0"]),
    (FORGET, ["DEL table:1", "cookie:0x4001000000000000/0xffff000000000000"]),
    (ONE, ["DEL_STRICT priority=10,in_port=3,dl_src=02:00:0a:00:00:03"]),
    (DeleteRules(), ["DEL table:255"]),
    (NOT_KEPT, ["DEL table:255", "cookie:0x0/0x8000000000000000"]),
    (
        NEW,
        [
            "ADD table:3 priority=30,ct_state=+new+trk,ip",
            "ct(table=4,zone=10,nat),ct(commit,zone=10,nat(dst=10.0.0.1)),ct(commit,zone=11,nat(src=10.0.1.1))",
        ],
    ),
    (AskRules(table=1), ["OFPST_FLOW request", "table=1"]),
    (FlushTracked(zone=11), ["NXT_CT_FLUSH_ZONE", "zone_id=11"]),
    (FlushTracked(zone=101, server=0x0A000002), ["NXT_CT_FLUSH ", "zone=101 'ct_nw_src=::", "' 'ct_nw_src=10.0.0.2,"]),
    (FlushTracked(zone=101, server=SERVER6), ["zone=101 'ct_ipv6_src=::,", "' 'ct_ipv6_src=fd00::1,ct_ipv6_dst=::,"]),
    (FlushTracked(zone=101, server=0x0A000002, began=True), ["zone=101 'ct_nw_src=10.0.0.2,", "' 'ct_nw_src=::,"]),
    (SendPacket(data=bytes(60), actions=(Output(2),), in_port=1), ["OFPT_PACKET_OUT", "in_port=1", "output:2"]),
]


HASHED = [
    (
        PINNED,
        [
            "ADD_OR_MOD group_id=3,type=select,selection_method=dp_hash,selection_method_param=4294967296,",
            "bucket=bucket_id:1,actions=ct(commit,table=4,zone=10,nat(dst=10.0.0.1))",
        ],
    ),
    (BY_CLIENT, ["group_id=4,type=select,selection_method=hash,fields(eth_type,ip_src),", "resubmit(,2)"]),
    (DeleteGroups(), ["DEL group_id=4294967292"]),
]
WITH_GROUPS = sorted(set(VERSIONS) - {"1.3"})
needs_printer = pytest.mark.skipif(
    not shutil.which("ovs-ofctl"), reason="ovs-ofctl isn't installed: apt-get install openvswitch-switch"
)


@needs_printer
@pytest.mark.parametrize("version", sorted(VERSIONS))
@pytest.mark.parametrize(("command", "said"), PRINTED, ids=[str(n) for n in range(len(PRINTED))])
def test_open_vswitch_reads_what_was_meant(command: Read, said: list[str], version: str) -> None:
    _read_as_meant(command, said, version)


@needs_printer
@pytest.mark.parametrize("version", WITH_GROUPS)
@pytest.mark.parametrize(("command", "said"), HASHED, ids=["dp_hash", "hash", "delete"])
def test_open_vswitch_reads_groups_as_they_were_meant(command: Read, said: list[str], version: str) -> None:
    _read_as_meant(command, said, version)


@pytest.mark.parametrize(("version", "set_eth_dst"), [("1.3", "load:0x2000a000001->NXM_OF_ETH_DST[]"), ("1.5", "set_")])
@needs_printer
def test_fields_are_set_as_the_version_does(version: str, set_eth_dst: str) -> None:
    _read_as_meant(CONNECTION, [set_eth_dst], version)


@needs_printer
@pytest.mark.parametrize("version", ["1.3", "1.5"])
def test_open_vswitch_reads_ipv6_as_it_was_meant(version: str) -> None:
    said = "priority=200,tcp6,ipv6_src=fd00::3,ipv6_dst=fd00::1:1,tp_src=40001,tp_dst=0x1f40/0xfff8"
    _read_as_meant(CONNECTION6, [said, "set_field:fd00::1->ipv6_dst"], version)
    said = "priority=400,icmp6,icmp_type=135,icmp_code=0,nd_target=fd00::1:1"
    _read_as_meant(SOLICITED, [said, "ct(commit,zone=10,nat(dst=fd00::1))"], version)


def test_1_0_cannot_set_an_ipv6_address() -> None:
    with pytest.raises(TypeError, match=r"OpenFlow 1\.0 can't set ipv6_dst"):
        openflow.encode(CONNECTION6, OF10)


def test_1_3_has_no_group_that_says_how_it_hashes() -> None:
    with pytest.raises(TypeError, match=r"1\.3"):
        openflow.encode(PINNED, OF13)


def _read_as_meant(command: Read, said: list[str], version: str) -> None:
    raw = openflow.encode(command, VERSIONS[version])
    printer = ["ovs-ofctl", "--no-names", "ofp-print", raw.hex()]
    printed = subprocess.run(printer, capture_output=True, text=True, check=True, timeout=10)
    assert "***" not in printed.stdout
    for part in said:
        assert part in printed.stdout, printed.stdout


# the way back

NUMBERS = {name: size for name, size in FIELDS.values()}
GROUPS = [
    (
        {"eth_type": 0x0800, "ip_proto": 6},
        ["ip_src", "ip_dst", "tcp_src", "tcp_dst", "tcp_flags", "in_port", "ct_state"],
    ),
    (
        {"eth_type": 0x86DD, "ip_proto": 17},
        ["ipv6_src", "ipv6_dst", "udp_src", "udp_dst", "in_port", "ct_state"],
    ),
    ({"eth_type": 0x86DD, "ip_proto": 58, "icmpv6_type": 136, "icmpv6_code": 0}, ["nd_target", "ipv6_src", "eth_dst"]),
    ({"eth_type": 0x0806}, ["arp_op", "arp_spa", "arp_tpa", "eth_src", "eth_dst"]),
    ({}, ["eth_src", "eth_dst", "in_port"]),
]
SETTABLE = ["eth_src", "eth_dst", "ip_src", "ip_dst"]


def number(size: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << 8 * size) - 1)


@st.composite
def matches(draw: st.DrawFn) -> dict[str, int | tuple[int, int]]:
    needed, optional = draw(st.sampled_from(GROUPS))
    match: dict[str, int | tuple[int, int]] = dict(needed)
    for name in draw(st.lists(st.sampled_from(optional), unique=True)):
        value, mask = draw(number(NUMBERS[name])), draw(number(NUMBERS[name]))
        match[name] = value if name == "in_port" or draw(st.booleans()) else (value & mask, mask)
    return match


@st.composite
def set_fields(draw: st.DrawFn) -> SetField:
    name = draw(st.sampled_from(SETTABLE))
    return SetField(name, draw(number(NUMBERS[name])))


PORTS = st.one_of(st.sampled_from([FLOOD, IN_PORT]), st.integers(1, 0xFEFF))
ACTIONS: st.SearchStrategy[tuple[Action, ...]] = st.lists(
    st.one_of(
        st.builds(Output, PORTS),
        st.builds(GoTo, st.integers(0, 254)),
        st.builds(ToController, number(2), st.booleans()),
        st.builds(FinTimeout, number(2)),
        st.builds(ToGroup, number(2)),
        st.builds(Track, number(2), st.one_of(st.none(), st.integers(0, 254)), st.booleans()),
        st.builds(lambda zone, dst: Track(zone, commit=True, dst=dst), number(2), number(4)),
        st.builds(lambda zone, dst: Track(zone, commit=True, dst=dst), number(2), st.integers(1 << 32, (1 << 128) - 1)),
        st.builds(lambda zone, table, src: Track(zone, table, commit=True, src=src), number(2), st.just(7), number(4)),
        st.builds(Examine, st.sampled_from(["tcp_src", "tcp_dst", "ip_src", "ip_ttl"])),
        set_fields(),
    ),
    max_size=5,
).map(tuple)
COMMANDS = st.one_of(
    st.builds(
        AddRule,
        table=st.integers(0, 254),
        priority=number(2),
        match=matches(),
        actions=ACTIONS,
        cookie=number(8),
        idle_timeout=number(2),
        notify=st.booleans(),
    ),
    st.builds(
        lambda where, match, cookie, mask: DeleteRules(
            table=where[0], priority=where[1], match=match, cookie=cookie if mask else 0, cookie_mask=mask
        ),
        st.tuples(st.one_of(st.none(), st.integers(0, 254)), st.one_of(st.none(), number(2))),
        matches(),
        st.just(0xFF << 56),
        st.sampled_from([0, 0xFFFF << 48, (1 << 64) - 1]),
    ),
    st.builds(AskRules, table=st.integers(0, 254)),
    st.builds(FlushTracked, zone=number(2)),
    st.builds(FlushTracked, zone=number(2), server=number(4) | number(16).filter(is_ipv6), began=st.booleans()),
    st.builds(SendPacket, data=st.binary(max_size=99), actions=ACTIONS, in_port=st.integers(0, 0xFEFF)),
)


CHOICES = st.one_of(
    st.builds(
        SetGroup,
        group=number(2),
        buckets=st.lists(ACTIONS, max_size=5).map(tuple),
        by=st.sampled_from([None, "ip_src", "ip_dst"]),
    ),
    st.builds(DeleteGroups),
)


@pytest.mark.parametrize("version", WITH_GROUPS)
@given(command=CHOICES)
def test_every_group_is_read_back_as_it_was(version: str, command: Read) -> None:
    assert Reader(VERSIONS[version]).read(openflow.encode(command, VERSIONS[version])) == command


@pytest.mark.parametrize("version", sorted(VERSIONS))
@given(command=COMMANDS)
def test_every_command_is_read_back_as_it_was(version: str, command: Read) -> None:
    reader = Reader(VERSIONS[version])
    if greeting := openflow.greeting(VERSIONS[version]):
        reader.read(greeting)
    raw = openflow.encode(command, VERSIONS[version])
    assert len(raw) % 8 == 0 or isinstance(command, SendPacket)
    assert reader.read(raw) == command
