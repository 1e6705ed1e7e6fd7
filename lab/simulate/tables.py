"""What a simulation found, as plain text: for the terminal, simulate.txt and the docs, all the same.

Rule: figures that others published stand beside ours, and what a figure should be by theory beside what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lab.simulate.published import CLUSTER_RATE, FLOW_LIMIT, PUBLISHED, SPARE, SPARE_SERVERS
from lab.simulate.simulation import Results
from lab.simulate.switch_rules import TRAFFIC

Row = Sequence[object]


def render(results: Results) -> str:
    return "\n".join(line.rstrip() for part in _parts(results) for line in part) + "\n"


def _parts(results: Results) -> Iterator[Iterator[str]]:
    yield _evenness(results)
    yield _tables(results)
    yield _disruption(results)
    yield _failures(results)
    yield _churn(results)
    yield _controller(results)
    yield _rules(results)
    yield _rules_at_rates(results)
    yield _published()


def aligned(head: Row, rows: Sequence[Row], texts: int = 1) -> Iterator[str]:
    """The first `texts` columns to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        padded = [c.ljust(w) if n < texts else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths))]
        yield "  " + "  ".join(padded)


def percent(part: float | None) -> str:
    """Three digits that count, as far as hundredths of a hundredth."""
    if part is None:
        return "-"
    value = 100 * part
    return f"{value:.{0 if value >= 1000 else 1 if value >= 10 else 2 if value >= 1 else 3}f} %" if value else "0 %"


def ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _evenness(results: Results) -> Iterator[str]:
    yield f"evenness: {results.settings.flows:,} flows of each policy to equal servers"
    rows = [
        (e.policy, f"{e.servers:,}", f"{e.most:,}", f"{e.least:,}", f"{e.max_over_mean:.4f}", percent(e.variation),
         percent(e.expected_variation))
        for e in results.evenness
    ]  # fmt: skip
    yield from aligned(("policy", "servers", "most", "least", "max/mean", "variation", "by theory"), rows)
    for e in results.evenness:
        if e.failures:
            yield f"  {e.policy} failed {e.failures:,} times with {e.servers:,} servers; round robin chose instead"


def _tables(results: Results) -> Iterator[str]:
    yield f"\nhash table: places of each server; published for {SPARE_SERVERS:,} servers: what must be spare"
    rows = []
    for t in results.tables:
        karger, rendezvous = SPARE.get(t.table_size, (None, None)) if t.servers == SPARE_SERVERS else (None, None)
        spare = percent(t.max_over_mean - 1)
        ours = (f"{t.table_size:,}", f"{t.servers:,}", f"{t.max_over_mean:.4f}", spare)
        rows.append((*ours, percent(karger), percent(rendezvous)))
    yield from aligned(("places", "servers", "max/mean", "spare", "Karger", "rendezvous"), rows)


def _disruption(results: Results) -> Iterator[str]:
    asked = results.disruption[0].clients if results.disruption else 0
    yield f"\ndisruption: of {asked:,} clients, those whose next connection meets another server"
    found = {(d.policy, d.servers, d.change): d for d in results.disruption}
    rows = []
    for policy, count in dict.fromkeys((d.policy, d.servers) for d in results.disruption):
        nothing, leave, join, weight = (found[policy, count, c] for c in ("nothing", "leave", "join", "weight"))
        parts = (nothing.moved, leave.moved, join.moved, leave.must, weight.moved, weight.must)
        rows.append((policy, f"{count:,}", *map(percent, parts)))
    head = ("policy", "servers", "no change", "1 leaves", "1 joins", "must", "weight 1 to 2", "must")
    yield from aligned(head, rows)
    yield "  must: by the change of shares alone"


def _failures(results: Results) -> Iterator[str]:
    yield "\nservers that fail at once: places of the hash table that change hands"
    rows = [
        (f"{f.table_size:,}", f"{f.servers:,}", f"{f.gone:,}", percent(f.moved), percent(f.must), percent(f.needless))
        for f in results.failures
    ]
    yield from aligned(("places", "servers", "fail", "moved", "must", "needless"), rows)


def _churn(results: Results) -> Iterator[str]:
    first = results.churn[0]
    yield (
        f"\nchurn: {first.flows:,} flows of each policy, {first.servers:,} servers, {first.changes} changes, "
        f"about {first.open_at_a_time:,.0f} connections open"
    )
    rows = [
        (c.policy, c.broken, f"{c.broken_due:.0f}", c.lost, f"{c.max_over_mean:.3f}", percent(c.variation),
         percent(c.open_variation), percent(c.elsewhere / max(1, c.returned)), percent(c.forced / max(1, c.returned)))
        for c in results.churn
    ]  # fmt: skip
    head = ("policy", "broken", "due", "lost", "max/mean", "variation", "of open ones", "elsewhere", "must")
    yield from aligned(head, rows)
    yield "  broken: connections of servers that failed or were removed; lost: open ones of the others"
    yield "  elsewhere: flows of returning clients that met another server than last time; must: it wasn't available"


def _controller(results: Results) -> Iterator[str]:
    origin = "calibrated here: the core alone" if results.settings.cpu_us is None else "as given by --cpu-us"
    most = f"{1e6 / results.cpu_us:,.0f}/s at most"
    yield f"\nreactive mode's controller: {results.cpu_us:.1f} µs per connection ({origin}), {most}"
    rows = [
        (f"{load.rate:,.0f}", percent(load.utilisation), load.controllers, ms(load.mean_ms), ms(load.expected_mean_ms),
         ms(load.p50_ms), ms(load.p99_ms))
        for load in results.loads
    ]  # fmt: skip
    head = ("connections/s", "used", "controllers", "mean ms", "by theory", "p50 ms", "p99 ms")
    yield from aligned(head, rows, 0)
    yield f"  a cluster of 1,500 servers starts {CLUSTER_RATE:,} flows/s"


def _rules(results: Results) -> Iterator[str]:
    t = TRAFFIC
    yield (
        f"\nrules in the switch: connections of {t.requests} requests, {t.pause_s:g} s apart on average, "
        f"{percent(t.vanish)} without an end"
    )
    rows = [
        (f"{r.idle_timeout_s} s", f"{r.flows:,}", f"{r.rules:,.0f}", f"{r.rules_expected:,.0f}", f"{r.lifetime_s:.2f}",
         f"{r.lifetime_expected_s:.2f}", f"{r.packet_ins:.3f}", f"{r.packet_ins_expected:.3f}",
         "yes" if r.core_agrees else "NO")
        for r in results.rules
    ]  # fmt: skip
    head = ("time-out", "flows", "rules", "by law", "lifetime s", "by law", "packet-ins", "by law", "core agrees")
    yield from aligned(head, rows, 0)


def _rules_at_rates(results: Results) -> Iterator[str]:
    yield f"\nrules at a time, by Little's law; Open vSwitch caches {FLOW_LIMIT:,} flows by default"
    rates = results.settings.rates
    rows = [
        (f"{r.idle_timeout_s} s", *(f"{rate * r.lifetime_expected_s:,.0f}" for rate in rates)) for r in results.rules
    ]
    yield from aligned(("time-out", *(f"{rate:,}/s" for rate in rates)), rows, 0)


def _published() -> Iterator[str]:
    yield "\npublished figures"
    yield from aligned(("what", "figure", "source"), [(p.what, p.figure, p.source) for p in PUBLISHED], 3)
