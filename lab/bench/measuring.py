"""One measurement: caches filled, counters read, a load run, counters read again. Rule: the driver adds no load of its
own while wrk runs."""

from __future__ import annotations

import time
from collections.abc import Mapping

from lab import wire_bench
from lab.bench import stalls
from lab.bench.beds import BULK_PORT, BULK_SERVER, CLIENTS, PORT, SERVERS, Bed, Usage
from lab.bench.record import BulkSample, Sample
from lab.driver.agent_client import Refused
from lab.driver.errors import LabError
from lab.driver.statistics import percentile
from lab.wire_bench import Figures

SAMPLER = CLIENTS[-1]


def measure(bed: Bed, round_: int, concurrency: int, seconds: int, began: float) -> Sample:
    """began: monotonic time of the first measurement. Raises LabError."""
    agent = bed.session.agent
    agent.bench_connections(wire_bench.Connections(clients=CLIENTS, ips=bed.ips, port=PORT))
    load = wire_bench.Load(
        clients=CLIENTS,
        servers=tuple(SERVERS),
        ips=bed.ips,
        port=PORT,
        concurrency=concurrency,
        seconds=seconds,
        sampler=SAMPLER,
    )
    before, at = bed.usage(), time.monotonic()
    figures = agent.bench_load(load)
    after, took_s = bed.usage(), time.monotonic() - at
    return sample(bed, figures, (before, after), load, round_, at - began, took_s)


def sample(
    bed: Bed,
    figures: Figures,
    usage: tuple[Usage, Usage],
    load: wire_bench.Load,
    round_: int,
    at_s: float,
    took_s: float,
) -> Sample:
    """What was seen at both ends, put together."""
    found = figures.wrk.values()
    per_s = sum(wrk.connections / wrk.seconds for wrk in found)
    answers = sorted(ms for wrk in found for ms in wrk.answer_ms)
    before, after = usage
    memory = dict(figures.memory_peak_mb)
    if after.memory_peak_mb is not None:
        memory["controller"] = after.memory_peak_mb
    return Sample(
        variant=bed.name,
        round=round_,
        concurrency=load.concurrency,
        at_s=round(at_s, 3),
        connections=sum(wrk.connections for wrk in found),
        per_s=round(per_s, 1),
        mean_ms=round(1000 * load.concurrency / per_s, 3) if per_s else 1000.0 * load.seconds,
        answer_ms={"p50": percentile(answers, 50), "p99": percentile(answers, 99)},
        whole_ms=list(figures.whole_ms),
        errors={
            "socket": sum(wrk.socket_errors for wrk in found),
            "timeout": sum(wrk.timeouts for wrk in found),
            "status": sum(wrk.bad_status for wrk in found),
            "sample": figures.sample_errors,
        },
        accepted=figures.accepted,
        packet_ins=_difference(before.packet_ins, after.packet_ins),
        flow_mods=_difference(before.flow_mods, after.flow_mods),
        cpu_s=_cpu(bed.idle_cpu, figures.cpu_s, usage, took_s),
        memory_peak_mb=memory,
        rules=list(figures.rules),
        settled_s=figures.settled_s,
        kernel={host: {k: v for k, v in counts.items() if v} for host, counts in figures.kernel.items()},
        stalls=stalls.find(figures, load.concurrency, load.seconds, bed.callers),
    )


def measure_bulk(bed: Bed, round_: int, direction: str, seconds: int, began: float) -> BulkSample:
    """One stream; that there was none is a sample too. Raises LabError only where the lab itself is broken."""
    at_s = round(time.monotonic() - began, 3)
    found = BulkSample(variant=bed.name, round=round_, direction=direction, at_s=at_s, bits_per_s=None)
    if bed.variant.engine == "stock":
        found.error = "stock POX sends each of iperf3's two connections to a server of its own"
        return found
    bulk = wire_bench.Bulk(
        client=CLIENTS[0],
        server=BULK_SERVER,
        ip=bed.bulk_ip,
        port=BULK_PORT,
        seconds=seconds,
        reverse=direction == "down",
    )
    try:
        answer = bed.session.agent.bench_bulk(bulk)
        found.bits_per_s, found.retransmits = answer["bits_per_s"], answer["retransmits"]
    except Refused:
        raise
    except LabError as error:
        if not bed.session.lab.alive():
            raise
        found.error = str(error)
    return found


def measure_idle(beds: list[Bed], seconds: float) -> None:
    """What each lab uses when nothing is sent, all being up: taken off what loads cost."""

    def read() -> list[tuple[float, dict[str, float]]]:
        return [(time.monotonic(), _used(bed)) for bed in beds]

    before = read()
    time.sleep(seconds)
    for bed, (began, first), (ended, last) in zip(beds, before, read()):
        bed.idle_cpu = {name: round((last[name] - first[name]) / (ended - began), 5) for name in last}


def _used(bed: Bed) -> dict[str, float]:
    """Program → CPU seconds since its start."""
    used = dict(bed.session.agent.bench_usage())
    controller = bed.usage().cpu_s
    return {**used, **({} if controller is None else {"controller": controller})}


def _cpu(
    idle: Mapping[str, float], programs: Mapping[str, float], usage: tuple[Usage, Usage], took_s: float
) -> dict[str, float]:
    """What the load cost, beyond what the idle lab uses."""
    before, after = usage
    used = dict(programs)
    if before.cpu_s is not None and after.cpu_s is not None:
        used["controller"] = after.cpu_s - before.cpu_s
    return {name: round(max(0.0, seconds - idle.get(name, 0.0) * took_s), 4) for name, seconds in used.items()}


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before
