#!/usr/bin/env python3
"""Feeds damaged packets to the parser and to the whole balancer, and says what breaks. Standard library only.

    python3 tools/fuzz_packets.py [--target parser|balancer] [--mode MODE] [--inputs N] [--seed S] [--jobs J]
    python3 tools/fuzz_packets.py --input HEX        # one frame again, as a failure prints it

First every frame of the corpus (tests/helpers/corpus.py) cut at each length, then mutations of them (mutations.py),
and good frames of new connections. The parser must raise nothing but PacketError and must not look behind the buffer,
nor behind the end that an IP header gives; the balancer must raise nothing, its commands must be encodable for both
OpenFlow versions, and its table and the process's memory must stay bounded. The same seed gives the same inputs.
Exit code 1: something broke.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import multiprocessing
import random
import sys
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers import corpus
from helpers.mutations import mutated, other_client
from helpers.tcp_server import TcpServer

from lab.balancer import packets
from lab.balancer.balancer import Balancer
from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.modes import MODES
from lab.balancer.packets import Packet, PacketError
from lab.balancer.rules import AddRule, Command, Note, SendPacket, SetField
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings
from lab.engines import openflow

BOUND: Final = 1_000  # connections remembered
INPUTS_PER_TICK: Final = 50
PORTS: Final = 8
MOVED: Final = 0.02  # of all frames come in at a port that isn't their sender's
LEARN: Final = 0.1  # of all are shown as copies of unknown senders' frames
GOOD: Final = 0.1  # of all are a new connection's first
SHOWN: Final = 5  # failures printed, one of each kind
SAMPLE: Final = 10_000  # inputs between two looks at the memory
GROWTH: Final = 32 << 20  # bytes that a process may grow by after its first tenth
DIFFER: Final = "the short way through the parser and the long one differ"
BEHIND: Final = bytes(range(1, 65))  # what lies behind a frame in the receiver's buffer

Target = Callable[[bytes, random.Random], str]  # gives a word for what became of the input; raises: a failure


def parser(data: bytes, rng: random.Random) -> str:
    """Read a frame; raises AssertionError when what it says depends on bytes that aren't its own."""
    packet = _read(data)
    window = memoryview(data + BEHIND)[: len(data)]
    assert _read(window) == packet, "what lies behind the frame was looked at"  # type: ignore[arg-type]
    if not isinstance(packet, Packet):
        assert _read(data, packets.parse_by_layers) == packet, DIFFER
        return packet
    assert packet.payload <= packet.end <= len(data), "the packet ends behind the frame, or before its data begins"
    if packet.end:
        assert packet.end == _end(data), "its end isn't the one that the IP header gives"
        assert _read(data[: packet.end]) == packet, "what lies behind the IP packet was looked at"
    assert _read(data, packets.parse_by_layers) == packet, DIFFER
    return packet.kind.name.lower()


def _end(data: bytes) -> int:
    """Where the IP packet of a frame ends."""
    if data[12:14] == b"\x08\x00":
        return 14 + int.from_bytes(data[16:18], "big")
    return 54 + int.from_bytes(data[18:20], "big")


def _read(data: bytes, read: Callable[[bytes], Packet] | None = None) -> Packet | str:
    try:
        return (read or packets.parse)(data)
    except PacketError as error:
        return error.drop.value


class World:
    """A balancer, and servers that answer its health checks, so that connections have somewhere to go."""

    def __init__(self, mode: str) -> None:
        self.balancer = Balancer(_settings(mode), random.Random(1))
        self._versions = (openflow.OF10, openflow.OF15 if mode == "proactive" else openflow.OF13)
        self._now = 0.0
        self._inputs = 0
        self._arriving: deque[bytes] = deque()
        self._cookies: deque[int] = deque(maxlen=1000)
        self._webs = {host.mac: TcpServer(host.ip, host.mac, 8080) for host in corpus.SERVERS.values()}
        self._do(self.balancer.switch_up(self._now))
        self._do(self.balancer.rules_found([], {}, self._now))

    def receive(self, data: bytes, rng: random.Random) -> str:
        before = self.balancer.drops()
        port = corpus.port_of(data) if rng.random() > MOVED else 1 + int(rng.random() * PORTS)
        self._do(self.balancer.packet_in(port, data, rng.random() < LEARN, self._now))
        self._inputs += 1
        if not self._inputs % INPUTS_PER_TICK:
            self._pass_time(rng)
        assert len(self.balancer.connections) <= BOUND, "the table is over its bound"
        return next((name for name, count in self.balancer.drops().items() if count != before[name]), "taken")

    def _pass_time(self, rng: random.Random) -> None:
        self._now += 0.05
        self._do(self.balancer.tick(self._now))
        if self._cookies and rng.random() < 0.5:
            self._do(self.balancer.flow_removed(self._cookies.popleft(), rng.random() < 0.3, self._now))

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Note):
                continue
            for version in self._versions:
                if version == openflow.OF10 and _sets_ipv6(command):
                    continue
                openflow.encode(command, version)
            if isinstance(command, AddRule) and command.notify:
                self._cookies.append(command.cookie)
            if isinstance(command, SendPacket):
                self._arriving += self._answers(command.data)
        while self._arriving:
            port, answer = corpus.port_of(self._arriving[0]), self._arriving.popleft()
            self._do(self.balancer.packet_in(port, answer, False, self._now))

    def _answers(self, frame: bytes) -> Iterator[bytes]:
        """What servers say to a frame that the balancer sends."""
        if found := corpus.answer(frame):
            yield found
        web = self._webs.get(int.from_bytes(frame[:6], "big"))
        checks = (frame[6:8], frame[12:14], frame[34] & 0xFE) == (b"\x02\x01", b"\x08\x00", 2)  # from ports 512 to 1023
        if web is not None and checks:
            yield from web.receive(frame)


def _settings(mode: str) -> Settings:
    servers = [
        ServerSettings(name=name, ip=str(ipaddress.IPv4Address(host.ip))) for name, host in corpus.SERVERS.items()
    ]
    http = HealthSettings(kind=CheckKind.HTTP)
    policy = "least_connections" if "least_connections" in MODES[mode] else MODES[mode][0]
    web = ServiceSettings(name="web", ip=corpus.SERVICE, servers=servers, policy=policy)
    checked = ServiceSettings(name="checked", ip=corpus.SERVICE, port=8080, servers=servers, policy=policy, health=http)
    dns = ServiceSettings(
        name="dns", ip=corpus.SERVICE, port=50, last_port=59, protocol="udp", servers=servers, policy=policy
    )
    services = [web, checked, dns]
    if mode != "proactive":  # which is for IPv4
        at_six = [ServerSettings(name=n, ip=str(ipaddress.IPv6Address(h.ip6))) for n, h in corpus.SERVERS.items()]
        services.append(ServiceSettings(name="six", ip=corpus.SERVICE6, servers=at_six, policy=policy))
    return Settings(services=services, mode=mode, bound=BOUND, detail=True, on_server_down="rebalance")


def _sets_ipv6(command: Command) -> bool:
    """OpenFlow 1.0 can't."""
    actions = command.actions if isinstance(command, AddRule | SendPacket) else ()
    return any(isinstance(action, SetField) and action.name.startswith("ipv6_") for action in actions)


@dataclass
class Findings:
    """What one process, or all of them, saw. `failures`: by kind, how often, the traceback and the first input."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    growth: int = 0  # bytes, of the process that grew most

    def failed(self, error: Exception, data: bytes) -> None:
        at = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno}: {error}"
        count, trace, first = self.failures.get(kind, (0, "".join(traceback.format_exception(error)), data))
        self.failures[kind] = (count + 1, trace, first)

    def add(self, other: Findings) -> None:
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        self.growth = max(self.growth, other.growth)
        for kind, (count, trace, data) in other.failures.items():
            self.failures[kind] = (self.failures.get(kind, (0, "", b""))[0] + count, trace, data)


def target(name: str, mode: str) -> Target:
    return parser if name == "parser" else World(mode).receive


def inputs(rng: random.Random) -> Iterator[bytes]:
    """Without end."""
    for frame in corpus.FRAMES:
        yield from (frame[:length] for length in range(len(frame) + 1))
    while True:
        yield other_client(rng, corpus.FRAMES[0]) if rng.random() < GOOD else mutated(rng, corpus.FRAMES)


def work(name: str, mode: str, count: int, seed: str) -> Findings:
    """One process's share."""
    rng = random.Random(seed)
    findings, run, source = Findings(), target(name, mode), inputs(rng)
    start = 0
    while findings.inputs < count:
        data = next(source)
        try:
            outcome = run(data, rng)
        except Exception as error:
            findings.failed(error, data)
        else:
            findings.outcomes[outcome] += 1
        findings.inputs += 1
        if findings.inputs % SAMPLE == 0 and findings.inputs >= count / 10:
            start = start or _memory()
            findings.growth = max(findings.growth, _memory() - start)
    return findings


def _memory() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def fuzz(name: str, mode: str, count: int, seed: int, jobs: int) -> Findings:
    shares = [(name, mode, count // jobs + (n < count % jobs), f"{seed}.{n}") for n in range(jobs)]
    found = Findings()
    if jobs == 1:
        found.add(work(*shares[0]))
        return found
    with multiprocessing.Pool(jobs) as pool:
        for share in pool.starmap(work, shares):
            found.add(share)
    return found


def report(found: Findings, what: str, seconds: float) -> bool:
    """Print it; whether all is well."""
    broken = sum(count for count, _, _ in found.failures.values())
    shares = ", ".join(f"{word} {n / found.inputs:.1%}" for word, n in found.outcomes.most_common())
    rate = found.inputs / seconds
    print(f"{what}: {found.inputs:,} inputs in {seconds:.1f} s, {rate:,.0f} a second; exceptions: {broken}")
    print(f"  became of them: {shares}\n  memory grew by {found.growth / (1 << 20):.1f} MiB")
    for kind, (count, trace, data) in list(found.failures.items())[:SHOWN]:
        print(f"\n{count} x {kind}\n{trace}  again: --input {data.hex() or '00'}")
    if found.growth > GROWTH:
        print(f"memory isn't bounded: more than {GROWTH >> 20} MiB")
    return not broken and found.growth <= GROWTH


def again(data: bytes) -> int:
    """One frame for the parser and for a new balancer of each mode; a failure is raised as it is."""
    rng = random.Random(1)
    print(f"parser: {parser(data, rng)}")
    for mode in sorted(MODES):
        print(f"balancer, {mode}: {World(mode).receive(data, rng)}")
    print(dataclasses.asdict(packet) if isinstance(packet := _read(data), Packet) else packet)
    return 0


def main() -> int:
    options = argparse.ArgumentParser(description="Feed damaged packets to the parser or to the whole balancer.")
    options.add_argument("--target", choices=["parser", "balancer"], default="parser")
    options.add_argument("--mode", choices=sorted(MODES), default="reactive", help="of the balancer")
    options.add_argument("--inputs", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--jobs", type=int, default=1, help="processes")
    options.add_argument("--input", type=bytes.fromhex, metavar="HEX", help="only this frame")
    given = options.parse_args()
    if given.inputs < 1 or given.jobs < 1:
        options.error("--inputs and --jobs are 1 or more")
    if given.input is not None:
        return again(given.input)
    start = perf_counter()
    found = fuzz(given.target, given.mode, given.inputs, given.seed, given.jobs)
    what = given.target if given.target == "parser" else f"balancer, {given.mode}"
    return 0 if report(found, f"{what}, seed {given.seed}", perf_counter() - start) else 1


if __name__ == "__main__":
    sys.exit(main())
