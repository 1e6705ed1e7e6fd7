#!/usr/bin/env python3
"""How fast the balancer's core decides, alone: no switch, no engine, no network. Standard library only.

    python3 tools/bench_core.py [--rounds N]

Prints what a new connection costs by policy, servers and live connections, what reading its SYN and making its rule
add, and memory per connection, beside the targets. Exit code 1: a target is missed.
Rule: what is compared is measured in turn, round by round, in CPU time, and the best round counts, since other programs
on the machine only ever add time. The table is always full, as in any long run: a new connection makes the oldest one
leave.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import process_time
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.balancer import packets
from lab.balancer.assignment import Assignment
from lab.balancer.balancer import Balancer
from lab.balancer.connections import Connections
from lab.balancer.health import Health, HealthSettings, State
from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.modes.reactive import Reactive
from lab.balancer.policies import POLICIES, make
from lab.balancer.pool import Member, Service
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings
from lab.balancer.statistics import Counters

TARGET_RATE: Final = 200_000  # new connections a second
TARGET_FLAT: Final = 1.20  # dearest over cheapest
TARGET_BYTES: Final = 300  # a connection
TABLE: Final = 1_000_000  # connections remembered: the default bound
LIVE: Final = (10, 1_000, 100_000, TABLE)
SERVERS: Final = (2, 10, 100, 1_000)
STEP: Final = 10_000  # connections of a round
PORTS: Final = 28_000  # of one client, in turn, as Linux gives them
SERVICE_IP: Final = 0x0A000101


def client(number: int) -> int:
    """Address and port of connection `number`."""
    return (0x0B000000 + number // PORTS) << 16 | 32_768 + number % PORTS


def syn(number: int) -> bytes:
    ips, ports = (client(number) >> 16, SERVICE_IP), (client(number) & 0xFFFF, 80)
    return packets.tcp((0x02000B000001, 0x02010A000101), ips, ports, flags=packets.SYN, seq=number)


class Bench:
    """A service with `servers` servers and `live` live connections; its table is full of others that have ended."""

    def __init__(
        self,
        policy: str,
        servers: int = 10,
        live: int = 10_000,
        weights: Sequence[int] = (1,),
        bound: int = 50_000,
    ) -> None:
        members = [_member(n, weights[n % len(weights)]) for n in range(servers)]
        service = Service(name="web", ip=SERVICE_IP, port=80, mac=1, policy=policy, members=members)
        self._connections = Connections(bound)
        self.assignment = Assignment(service, make(policy, random.Random(1)), self._connections)
        self.best = float("inf")  # s per new connection
        self._live = live
        self._begun = self._ended = 0
        cycle = sum(member.weight for member in members)  # weighted turns are known from their second cycle on
        while self._begun < bound + cycle:
            self.round()
        self.best = float("inf")

    def round(self) -> None:
        """STEP new connections; as many others end between, which isn't timed."""
        assign, chunk, spent = self.assignment.assign, min(STEP, self._live), 0.0
        for first in range(self._begun, self._begun + STEP, chunk):
            clients = [client(n) for n in range(first, first + chunk)]
            start = process_time()
            for address in clients:
                assign(address, 7, 9)
            spent += process_time() - start
            self._begun = first + chunk
            self._end_oldest()
        self.best = min(self.best, spent / STEP)

    def _end_oldest(self) -> None:
        for number in range(self._ended, self._begun - self._live):
            member = self._connections.find(client(number))  # with one service, the client is the key
            if member is not None:
                self._connections.rest(client(number), member)
        self._ended = max(self._ended, self._begun - self._live)


def _member(n: int, weight: int) -> Member:
    health = Health(HealthSettings())
    health.state = State.UP
    return Member(id=n + 1, name=f"s{n}", ip=0x0A000201 + n, mac=n + 1, weight=weight, health=health)


def in_turn(benches: Sequence[Bench], rounds: int) -> list[float]:
    """The best of `rounds` rounds of each (s per new connection)."""
    gc.collect()
    for _ in range(rounds):
        for bench in benches:
            bench.round()
    return [bench.best for bench in benches]


def best_of(rounds: int, work: Callable[[], object]) -> float:
    """s per packet, of work on STEP packets."""
    spent = []
    for _ in range(rounds):
        start = process_time()
        work()
        spent.append((process_time() - start) / STEP)
    return min(spent)


class Report:
    """Prints figures and judges them."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, what: str, seconds: Iterable[float], verdict: str) -> None:
        print(f"{what:34}" + "".join(f"{s * 1e6:9.2f}" for s in seconds) + f"   {verdict}", flush=True)

    def judge(self, good: bool, text: str) -> str:
        self.missed += not good
        return text if good else f"{text}  MISSED"

    def rate(self, seconds: float) -> str:
        return self.judge(seconds <= 1 / TARGET_RATE, f"{1 / seconds:,.0f}/s")

    def flat(self, times: Sequence[float]) -> str:
        ratio = max(times) / min(times)
        return self.judge(ratio <= TARGET_FLAT, f"x {ratio:.2f}")


def decisions(report: Report, rounds: int) -> None:
    print(f"\nnew connections, one core, 10 servers, 10,000 live (target {TARGET_RATE:,}/s)     µs")
    benches = [Bench(policy) for policy in POLICIES]
    for policy, best in zip(POLICIES, in_turn(benches, rounds)):
        report.line(f"  {policy}", [best], report.rate(best))


def packets_too(report: Report, rounds: int) -> None:
    print("\nwith its packet, round robin                                     µs")
    frames = [syn(number) for number in range(STEP)]
    parsed = [packets.parse(frame) for frame in frames]
    assignment = Bench("round_robin").assignment
    mode = Reactive([assignment], Counters(), 10)
    fresh = iter(range(1, 1_000_000))

    def make_rules() -> None:
        seq = next(fresh)
        for packet, frame in zip(parsed, frames):
            packet.seq = seq
            mode.to_service(assignment, packet, frame, 3)

    reading = best_of(rounds, lambda: [packets.parse(frame) for frame in frames])
    report.line("  read the SYN", [reading], report.rate(reading))
    both = min(_read_and_decide(assignment, n * STEP) for n in range(100, 100 + rounds))
    report.line("  read it and decide", [both], report.rate(both))
    rules = best_of(rounds, make_rules)
    report.line("  decide, make rule and packet-out", [rules], f"{1 / rules:,.0f}/s")


def _read_and_decide(assignment: Assignment, first: int) -> float:
    """s per new connection."""
    frames, parse, assign = [syn(number) for number in range(first, first + STEP)], packets.parse, assignment.assign
    start = process_time()
    for frame in frames:
        packet = parse(frame)
        assign(packet.ip_src << 16 | packet.src_port, packet.seq, packet.eth_src)
    return (process_time() - start) / STEP


def whole_events(report: Report, rounds: int) -> None:
    """All that the core does about a SYN: the packet-in's bytes come in, commands go out. What an engine adds, its
    messages' bytes and the socket, isn't in it."""
    print("\npacket-in event in, commands out, round robin                    µs")
    for mode in CONTROLLER_CHOOSES:
        balancer, spent = _balancer(mode), []
        for n in range(rounds):
            frames = [syn(number + n * STEP) for number in range(STEP)]
            start = process_time()
            for frame in frames:
                balancer.packet_in(3, frame, False, 1.0)
            spent.append((process_time() - start) / STEP)
        assert sum(member.hits for member in balancer.services[0].members) == rounds * STEP
        report.line(f"  {mode}", [min(spent)], f"{1 / min(spent):,.0f}/s")


def _balancer(mode: str) -> Balancer:
    """With ten servers that are up."""
    servers = [ServerSettings(name=f"s{n}", ip=f"10.0.2.{n + 1}") for n in range(10)]
    service = ServiceSettings(name="web", ip=packets.address(SERVICE_IP), servers=servers)
    balancer = Balancer(Settings(services=[service], mode=mode), random.Random(1))
    for member in balancer.services[0].members:
        member.health.state, member.mac = State.UP, member.id
    balancer.assignments[0].pool_changed()
    return balancer


def flatness(report: Report, rounds: int) -> None:
    limit = f"(target: within x {TARGET_FLAT:.2f})"
    print(f"\nby live connections, of {TABLE:,} remembered {limit}")
    print(f"{'':34}" + "".join(f"{n:>9,}" for n in LIVE) + "   µs")
    for policy in POLICIES:
        times = in_turn([Bench(policy, live=live, bound=TABLE + 2 * STEP) for live in LIVE], rounds)
        report.line(f"  {policy}", times, report.flat(times))
    times = in_turn([Bench("round_robin", live=live, bound=live) for live in LIVE], rounds)
    report.line("  round_robin, no more remembered", times, f"x {max(times) / min(times):.2f}: what caches make of it")
    print(f"\nby servers {limit}\n{'':34}" + "".join(f"{n:>9,}" for n in SERVERS) + "   µs")
    for policy in POLICIES:
        for name, weights in (("", (1,)), (", weights 1 to 10", tuple(range(1, 11)))):
            if policy == "round_robin" and name:
                continue
            times = in_turn([Bench(policy, servers, weights=weights) for servers in SERVERS], rounds)
            report.line(f"  {policy}{name}", times, report.flat(times))


def memory(report: Report) -> None:
    gc.collect()
    tracemalloc.start()
    bench = Bench("least_connections", live=TABLE, bound=TABLE)
    each = tracemalloc.get_traced_memory()[0] / TABLE
    tracemalloc.stop()
    del bench
    verdict = report.judge(each <= TARGET_BYTES, f"{each:.0f} bytes a connection, of {TABLE:,} live")
    print(f"\nmemory (target {TARGET_BYTES} bytes): {verdict}")


def main() -> int:
    parser = argparse.ArgumentParser(description="How fast the balancer's core decides.")
    parser.add_argument("--rounds", type=int, default=30, help="of each measurement; the best counts")
    rounds = parser.parse_args().rounds
    print(f"Python {sys.version.split()[0]}")
    report = Report()
    decisions(report, rounds)
    packets_too(report, rounds)
    whole_events(report, rounds)
    flatness(report, rounds)
    memory(report)
    print(f"\n{report.missed} targets missed" if report.missed else "\nall targets met")
    return int(report.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
