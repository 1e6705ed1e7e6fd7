"""The engine's statistics in Prometheus' text format, read at the moment somebody asks.

A custom collector, since the counts live in the engine: nothing is counted twice, and a controller that is dead shows
as `balance_lab_controller_up 0` with nothing else. Rule: what isn't known has no sample; no count is made here.
Source: Prometheus' "Metric and label naming" and "Writing exporters".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
HEALTH_STATES: Final = ("unknown", "up", "down")
ADMIN_STATES: Final = ("ready", "draining", "maint")

_SERVER: Final = ("service", "server")
_SERVER_GAUGES: Final = (
    ("live", "server_live_connections", "Connections the server has now."),
    ("weight", "server_weight", "The server's weight."),
    ("available", "server_available", "1 if the server may get new connections: up, and ready."),
)
_SERVER_COUNTERS: Final = (
    ("hits", "server_connections", "New connections given to the server."),
    ("flaps", "server_flaps", "How often the server went down that was up."),
)
_TOTALS: Final = (
    ("packet_ins_total", "packet_ins", "Packets that switches showed to the controller."),
    ("flow_mods_total", "flow_mods", "Commands that added or deleted rules."),
    ("packet_ins", "connection_packet_ins", "Packets of services' connections among the packet-ins."),
    ("flow_mods", "connection_flow_mods", "Rules for services' connections among the flow-mods."),
)

_Family = Any  # a metric family: the library has no types here
_Servers = list[tuple[tuple[str, str], Mapping[str, Any]]]


def render(status: Mapping[str, Any]) -> bytes:
    """`status`: as `GET /controller` gives it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(status))
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    def __init__(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[_Family]:
        up = self._status["statistics"] is not None
        yield _gauge("controller_up", "1 if the engine runs and answers.", value=int(up))
        if not up:
            return
        statistics = self._status["statistics"]
        services = statistics["services"]
        servers = [((s, n), server) for s, service in services.items() for n, server in service["servers"].items()]
        yield from _of_servers(servers)
        failures = [((name,), service.get("policy_failures")) for name, service in services.items()]
        about = "Failures of the service's plug-in policy, in whose place round robin acted."
        yield _filled(_counter("policy_failures", about, ("service",)), failures)
        yield from _of_engine(statistics)


def _of_servers(servers: _Servers) -> Iterator[_Family]:
    yield _states("server_health", "The server's health: 1 at its present state.", servers, "state", HEALTH_STATES)
    yield _states("server_admin", "What is wanted of the server: 1 at its state.", servers, "admin", ADMIN_STATES)
    for key, name, about in _SERVER_GAUGES:
        yield _filled(_gauge(name, about, labels=_SERVER), [(names, server.get(key)) for names, server in servers])
    for key, name, about in _SERVER_COUNTERS:
        yield _filled(_counter(name, about, _SERVER), [(names, server.get(key)) for names, server in servers])
    probes = [(names, server["probes"]) for names, server in servers if "probes" in server]
    sent = [(names, results["sent"]) for names, results in probes]
    yield _filled(_counter("server_probes_sent", "Health probes sent to the server.", _SERVER), sent)
    ended = [((*names, result), n) for names, results in probes for result, n in results.items() if result != "sent"]
    about = "Health probes that ended, by how: answered, failed; late: answered after they had failed."
    yield _filled(_counter("server_probes", about, (*_SERVER, "result")), ended)


def _of_engine(statistics: Mapping[str, Any]) -> Iterator[_Family]:
    table = statistics.get("connections", {})
    about = "Connections that the controller remembers, also those that have ended."
    yield _filled(_gauge("connection_table_entries", about, labels=()), [((), table.get("remembered"))])
    about = "Connections that left the table because it was full."
    yield _filled(_counter("connections_evicted", about), [((), table.get("evicted"))])
    for key, name, about in _TOTALS:
        yield _filled(_counter(name, about), [((), statistics[key])])
    drops = [((cause,), count) for cause, count in statistics["drops"].items()]
    yield _filled(_counter("drops", "Packets refused, by cause.", ("cause",)), drops)
    switches = len(statistics["switches"])
    yield _gauge("switches_connected", "Switches that are connected to the controller.", value=switches)
    errors = [((error,), count) for error, count in statistics.get("switch_errors", {}).items()]
    yield _filled(_counter("switch_errors", "Commands that a switch refused, by its error.", ("error",)), errors)


def _gauge(name: str, about: str, value: float | None = None, labels: Iterable[str] | None = None) -> _Family:
    return GaugeMetricFamily(f"balance_lab_{name}", about, value=value, labels=labels)


def _counter(name: str, about: str, labels: Iterable[str] = ()) -> _Family:
    """Its samples are called `name` and `_total`."""
    return CounterMetricFamily(f"balance_lab_{name}", about, labels=labels)


def _filled(family: _Family, samples: Iterable[tuple[tuple[str, ...], float | None]]) -> _Family:
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family


def _states(name: str, about: str, servers: _Servers, key: str, known: Iterable[str]) -> _Family:
    family = _gauge(name, about, labels=(*_SERVER, "state"))
    present = [(names, server[key]) for names, server in servers if key in server]
    return _filled(family, [((*names, state), int(state == is_)) for names, is_ in present for state in known])
