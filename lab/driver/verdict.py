"""From expectations and evidence to verdict: each expectation becomes one line with a name, passed or not, and why.

Rule: what can't be judged has not passed. An expectation without data fails and says so; evidence is only counted here,
never fetched, so that every rule can be tested with plain numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lab.driver.statistics import chi_square_survival, percentile
from lab.record import Expectation
from lab.wire import Pings

if TYPE_CHECKING:
    from lab.driver.scenario import Range, StepExpect

PERCENTILES = (50, 95, 99)
NO_REQUEST = "no data: no request was sent"
NO_ANSWER = "no data: no request was answered"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was seen: in one round, or in all together."""

    sent: int = 0
    failed: int = 0
    by_service: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # service → server → answered requests
    weights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # service → server → weight
    server_hits: Mapping[str, int] | None = None  # by the servers' own logs; None: they couldn't be had
    connect_ms: Sequence[float] = ()  # sorted; of answered requests
    total_ms: Sequence[float] = ()
    pings: Pings | None = None
    by_client: Mapping[str, Mapping[str, Set[str]]] = field(default_factory=dict)  # service → client → its servers
    recovered_s: float | None = None  # from the last start of controller or switch to the first new connection's end
    memory_growth_mb: float | None = None  # of the controller

    @property
    def ok(self) -> int:
        return self.sent - self.failed

    @property
    def hits(self) -> dict[str, int]:
        """Server → answered requests, its services summed; every server of a pool is there, at least with 0."""
        total = {server: 0 for pool in self.weights.values() for server in pool}
        for pool in self.by_service.values():
            for server, count in pool.items():
                total[server] = total.get(server, 0) + count
        return total


def judge(expect: StepExpect, evidence: Evidence, prefix: str = "") -> list[Expectation]:
    """Every expectation in `expect`, in a fixed order. `prefix` (`steps.1.`) goes before each name."""
    checks = (_hits, _shares, _chi_square, _sticky, _failed, _success, _recovery, _latency, _pingall, _memory)
    found = [check for run in checks for check in run(expect, evidence)]
    return [Expectation(name=prefix + name, passed=passed, detail=detail) for name, passed, detail in found]


def both_ends(evidence: Evidence) -> Expectation:
    """Clients and servers must tell the same story: a server may have seen at most as many more requests than it
    answered as there were failed requests, and never fewer."""
    passed, detail = _compare_ends(evidence)
    return Expectation(name="both_ends", passed=passed, detail=detail)


Check = tuple[str, bool, str]  # name, passed, detail


def _hits(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    for server, wanted in expect.hits.items():
        name = f"hits.{server}"
        if not evidence.sent:
            yield name, False, NO_REQUEST
        elif isinstance(wanted, int):
            yield name, *_exact(evidence.hits.get(server, 0), wanted, expect.tolerance)
        else:
            yield name, *_between(evidence.hits.get(server, 0), wanted)


def _exact(found: int, wanted: int, tolerance: int) -> tuple[bool, str]:
    if not tolerance:
        return found == wanted, f"{found} = {wanted}" if found == wanted else f"{found}, expected {wanted}"
    passed = abs(found - wanted) <= tolerance
    return passed, f"{found} {'within' if passed else 'is not within'} {wanted} ± {tolerance}"


def _between(found: int, wanted: Range) -> tuple[bool, str]:
    low, high = wanted.min, wanted.max
    passed = (low is None or found >= low) and (high is None or found <= high)
    limits = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return passed, f"{found}, expected {' and '.join(limits) or 'any'}"


def _shares(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    total = sum(evidence.hits.values())
    for server, wanted in expect.share.items():
        if not total:
            yield f"share.{server}", False, NO_ANSWER
            continue
        found = evidence.hits.get(server, 0) / total
        passed = abs(found - wanted) <= expect.share_tolerance + 1e-12  # 0.55 - 0.5 is a little above 0.05
        verb = "within" if passed else "is not within"
        yield f"share.{server}", passed, f"{found:.3f} {verb} {wanted:g} ± {expect.share_tolerance:g}"


def _chi_square(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    """One test over all services: their statistics and their degrees of freedom add up."""
    if expect.chi_square is None:
        return
    statistic, degrees = 0.0, 0
    for service, weights in evidence.weights.items():
        hits = evidence.by_service.get(service, {})
        if sum(hits.values()):
            statistic += _distance(hits, weights)
            degrees += len(weights) - 1
    if not degrees:
        reason = "no service has two servers to compare" if evidence.ok else NO_ANSWER
        yield "chi_square", False, reason
        return
    p = chi_square_survival(statistic, degrees)
    passed = p > expect.chi_square
    freedom = f"chi² = {statistic:.2f}, {degrees} degree{'s' * (degrees != 1)} of freedom"
    yield "chi_square", passed, f"p = {p:.3g} {'>' if passed else '<='} {expect.chi_square:g} ({freedom})"


def _distance(hits: Mapping[str, int], weights: Mapping[str, int]) -> float:
    """Pearson's statistic. A hit on a server outside the pool counts in the total, so it makes the fit worse."""
    total, parts = sum(hits.values()), sum(weights.values())
    wanted = {server: total * weight / parts for server, weight in weights.items()}
    return sum((hits.get(server, 0) - count) ** 2 / count for server, count in wanted.items())


def _failed(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    if expect.failed is None:
        return
    if not evidence.sent:
        yield "failed", False, NO_REQUEST
        return
    passed = evidence.failed <= expect.failed
    limit = f"at most {expect.failed}" if expect.failed else "0"
    exact = passed and not expect.failed
    yield "failed", passed, "0 = 0" if exact else f"{evidence.failed}, expected {limit}"


def _success(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    if expect.success is None:
        return
    if not evidence.sent:
        yield "success", False, NO_REQUEST
        return
    found = evidence.ok / evidence.sent
    detail = f"{found:.4g} ({evidence.ok} of {evidence.sent}), expected at least {expect.success:g}"
    yield "success", found >= expect.success, detail


def _sticky(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    """A client is to keep its server within a service; two services may well send it to two."""
    if not expect.sticky:
        return
    seen = [(client, servers) for pool in evidence.by_client.values() for client, servers in pool.items()]
    if not seen:
        yield "sticky", False, NO_ANSWER
        return
    torn = [f"{client} saw {', '.join(sorted(servers))}" for client, servers in seen if len(servers) > 1]
    more = f" and {len(torn) - 3} more" if len(torn) > 3 else ""
    yield "sticky", not torn, "; ".join(torn[:3]) + more if torn else f"{len(seen)} clients, each with one server"


def _recovery(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    limit, found = expect.recovered_within_s, evidence.recovered_s
    if limit is None:
        return
    if found is None:
        yield "recovered_within_s", False, "no data: no new connection succeeded after the start"
    else:
        yield "recovered_within_s", found <= limit, f"{found:.2f} s, expected at most {limit:g} s"


def _memory(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    limit, found = getattr(expect, "controller_memory_mb_growth", None), evidence.memory_growth_mb
    if limit is None:
        return
    name = "controller_memory_mb_growth"
    if found is None:
        yield name, False, "no data: the controller's memory could not be read"
    else:
        yield name, found <= limit, f"{found:.1f} MB, expected at most {limit:g} MB"


def _latency(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    if expect.latency_ms is None:
        return
    samples = {"connect": evidence.connect_ms, "total": evidence.total_ms}
    for phase, ordered in samples.items():
        limits = getattr(expect.latency_ms, phase)
        for percent in PERCENTILES:
            limit = getattr(limits, f"p{percent}", None)
            if limit is not None:
                yield f"latency_ms.{phase}.p{percent}", *_at_most_ms(percentile(ordered, percent), limit)


def _at_most_ms(found: float | None, limit: float) -> tuple[bool, str]:
    if found is None:
        return False, NO_ANSWER
    return found <= limit, f"{found:.2f} ms, expected at most {limit:g} ms"


def _pingall(expect: StepExpect, evidence: Evidence) -> Iterator[Check]:
    limit, pings = expect.pingall_loss, evidence.pings
    if limit is None:
        return
    if pings is None or not pings.sent:
        yield "pingall_loss", False, "no data: no ping was sent"
        return
    lost = ", ".join(f"{a} to {b}" for a, b in pings.failed[:3])
    more = f" ({lost}{', …' if len(pings.failed) > 3 else ''})" if lost else ""
    detail = f"{pings.loss_percent:.3g} % of {pings.sent} lost{more}, expected at most {limit:g} %"
    yield "pingall_loss", pings.loss_percent <= limit, detail


def _compare_ends(evidence: Evidence) -> tuple[bool, str]:
    if evidence.server_hits is None:
        return False, "no data: the servers' logs could not be read"
    wrong = []
    for server in sorted({*evidence.hits, *evidence.server_hits}):
        client, own = evidence.hits.get(server, 0), evidence.server_hits.get(server, 0)
        if not client <= own <= client + evidence.failed:
            wrong.append(f"{server} served {own}, its clients count {client}")
    if wrong:
        return False, f"{'; '.join(wrong)}; {evidence.failed} requests failed"
    return True, f"{evidence.ok} answers, {sum(evidence.server_hits.values())} in servers' logs"
