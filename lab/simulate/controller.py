"""What a controller can bear in reactive mode: how long a new connection waits for its decision, by arrival rate.

A controller is one queue with one server: SYNs arrive by chance (Poisson) and each costs the same CPU time, so this is
M/D/1; the waiting of each SYN follows from the one before (Lindley 1952), and the mean is held against theory
(Pollaczek-Khinchine). What a connection costs is an input. The calibration measures this machine's core alone: reading
the packet-in's frame, deciding, making and encoding the rule and the packet-out, and the rule's end; no framework, no
socket. Rule: this is the only module of the simulation that reads a clock.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from math import ceil
from time import process_time
from typing import Final

from lab import wire
from lab.balancer import packets
from lab.balancer.pool import service_mac
from lab.balancer.rules import Cookie, member_cookie
from lab.engines import openflow
from lab.engines.switchboard import Switchboard
from lab.simulate.fleet import FIRST_CLIENT, SERVICE_IP, Advance, arp_answer, chance, server_ip

SERVERS: Final = 10
ROUNDS: Final = 5
CONNECTIONS: Final = 1_000  # of a round
UTILISATIONS: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the curve
FULL: Final = 0.8  # utilisation that a controller is planned for
CLIENT_MAC: Final = 0x026400000001
DPID: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A controller at one arrival rate. Times are from the SYN's arrival to its decision; None: it can't keep up."""

    rate: float  # new connections per second
    utilisation: float  # of one processor; above 1, the rest is never served
    controllers: int  # so that each is at most FULL used
    mean_ms: float | None = None
    expected_mean_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


def load_at(rate: float, cpu_us: float, count: int, seed: int) -> Load:
    """A controller to which `rate` connections a second come, of `cpu_us` each; `count` of them are simulated."""
    used = rate * cpu_us / 1e6
    needed = max(1, ceil(used / FULL))
    if used >= 1:
        return Load(rate=rate, utilisation=used, controllers=needed)
    times = sorted(waits(used, count, seed))
    scale = cpu_us / 1e3
    return Load(
        rate=rate,
        utilisation=used,
        controllers=needed,
        mean_ms=sum(times) / len(times) * scale,
        expected_mean_ms=(1 + used / (2 * (1 - used))) * scale,
        p50_ms=times[len(times) // 2] * scale,
        p99_ms=times[len(times) * 99 // 100] * scale,
    )


def waits(utilisation: float, count: int, seed: int) -> list[float]:
    """Time of `count` connections from arrival to decision, in units of what a decision costs."""
    between = chance(seed, "arrivals", utilisation).expovariate
    wait, times = 0.0, []
    for number in range(-count // 10, count):  # the first ones find an empty queue, and aren't counted
        wait = max(0.0, wait + 1 - between(utilisation))
        if number >= 0:
            times.append(wait + 1)
    return times


def curve(cpu_us: float, count: int, seed: int, advance: Advance) -> list[Load]:
    """From nearly idle to nearly full."""
    loads = []
    for number, used in enumerate(UTILISATIONS, 1):
        loads.append(load_at(used * 1e6 / cpu_us, cpu_us, count, seed))
        advance(number / len(UTILISATIONS))
    return loads


def calibrate(advance: Advance) -> float:
    """µs of this machine's processor per connection: the best of some rounds, since other programs only disturb."""
    board = make_board()
    best = float("inf")
    for number in range(ROUNDS):
        clients = [FIRST_CLIENT << 16 | 1024 + number * CONNECTIONS + n for n in range(CONNECTIONS)]
        best = min(best, _time_connections(board, clients))
        advance((number + 1) / ROUNDS)
    return best / CONNECTIONS * 1e6


def make_board() -> Switchboard:
    """What an engine drives, with a switch connected and all servers up."""
    servers = tuple(wire.Server(name=f"s{n}", ip=_text(server_ip(n))) for n in range(1, SERVERS + 1))
    service = wire.Service(name="web", ip=_text(SERVICE_IP), servers=servers)
    board = Switchboard(wire.Controller(services=(service,), dpid=DPID))
    board.connected(DPID, openflow.OF13, board, len)
    for number in range(1, SERVERS + 1):
        board.packet_in(DPID, number, openflow.REASON_ACTION, arp_answer(number, service_mac(SERVICE_IP)))
    return board


def _time_connections(board: Switchboard, clients: list[int]) -> float:
    """Seconds for connections from their SYN to the end of their rule. There are whole turns of round robin of them, so
    it is known which server each one gets."""
    frames = [_syn(client) for client in clients]
    cookies = [member_cookie(Cookie.CONNECTION, n % SERVERS + 1, client) for n, client in enumerate(clients)]
    begin = process_time()
    for frame in frames:
        board.packet_in(DPID, SERVERS + 1, openflow.REASON_ACTION, frame)
    for cookie in cookies:
        board.flow_removed(DPID, cookie, openflow.FLOW_REMOVED_IDLE)
    return process_time() - begin


def _syn(client: int) -> bytes:
    macs, ips = (CLIENT_MAC, service_mac(SERVICE_IP)), (client >> 16, SERVICE_IP)
    return packets.tcp(macs, ips, (client & 0xFFFF, 80), flags=packets.SYN, seq=1)


def _text(ip: int) -> str:
    return str(ipaddress.IPv4Address(ip))
