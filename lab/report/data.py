"""A finished run as plain data: what its folder says, checked once, with nothing computed and nothing drawn.

A run that broke or was stopped leaves nulls, or no file at all, and still deserves a page. So the one rule: only a
result that can't be read is an error (ReportError); whatever else is missing or odd becomes a note on the page.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.record import REQUESTS, RESULT, SCENARIO, Result
from lab.report.network import Network, read_network
from lab.wire import Request

FILES: Final = {  # what a run may leave, and what it is good for
    RESULT: "the result, for programs",
    REQUESTS: "a line per request",
    SCENARIO: "the scenario as run",
    "controller.log": "what the controller said",
    "agent.log": "what the network's side said",
    "flows.txt": "the switches' flow tables at the end",
    "capture.pcap": "packets, for Wireshark",
}
TEXTS: Final = (
    "scenario",
    "verdict",
    "backend",
    "engine",
    "policy",
    "mode",
    "datapath",
    "name",
    "about",
    "started",
    "reason",
)
OPTIONAL_NUMBER: Final = (int, float, type(None))
OPTIONAL_TEXT: Final = (str, type(None))
MAX_SCENARIO: Final = 2_000_000  # bytes; a scenario is a page of text
MAX_TIME: Final = 1e11  # s or ms; beyond it is nonsense, and not-a-number compares false


class ReportError(Exception):
    """The folder holds no run that can be shown; the text is one sentence for the user."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    name: str
    address: str  # 10.0.1.1:80
    policy: str | None
    servers: tuple[str, ...]
    weights: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """All that a page needs. `requests`: sorted by their start. `network`: None where the scenario is unreadable."""

    folder: str
    result: Result
    requests: Sequence[Request]
    network: Network | None
    services: tuple[Service, ...]
    clients: tuple[str, ...]  # as the scenario names them
    files: tuple[tuple[str, str], ...]  # name, what it is
    notes: tuple[str, ...]


def read_run(folder: Path) -> Run:
    """Raises ReportError: no folder, or no result in it that this kit reads."""
    result = _read_result(folder)
    notes = [f"Left behind: {result.left}"] if result.left else []
    notes += [str(note) for note in items(result.notes)]
    scenario = _read_scenario(folder / SCENARIO, notes)
    return Run(
        folder=folder.resolve().name,
        result=result,
        requests=_read_requests(folder / REQUESTS, notes),
        network=read_network(scenario) if scenario else None,
        services=_services(scenario, result),
        clients=_clients(scenario),
        files=tuple((name, what) for name, what in FILES.items() if (folder / name).is_file()),
        notes=tuple(notes),
    )


def pick(data: Any, *path: str) -> Any:
    """The value at `path` in nested mappings; None where there is none."""
    for key in path:
        if not isinstance(data, Mapping):
            return None
        data = data.get(key)
    return data


def number(data: Any, *path: str) -> float | int | None:
    """The finite number at `path`, else None."""
    value = pick(data, *path)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value


def text(data: Any, *path: str) -> str | None:
    """The text at `path`; None where there is none or an empty one."""
    value = pick(data, *path)
    return value if isinstance(value, str) and value else None


def mapping(data: Any, *path: str) -> dict[str, Any]:
    value = pick(data, *path)
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def items(data: Any, *path: str) -> list[Any]:
    value = pick(data, *path)
    return list(value) if isinstance(value, (list, tuple)) else []


def _read_result(folder: Path) -> Result:
    if not folder.is_dir():
        raise ReportError(f"{folder} is no folder of a run")
    try:
        return _clean(Result.read(folder))
    except FileNotFoundError:
        raise ReportError(f"{folder} holds no {RESULT}: it is not a run's folder, or the run never ended") from None
    except OSError as error:
        raise ReportError(f"{folder / RESULT} can't be read: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"{folder / RESULT} is not JSON: line {error.lineno}: {error.msg}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:  # JSON, but of another form
        raise ReportError(f"{folder / RESULT} is not a result that this kit reads: {error}") from None


def _clean(result: Result) -> Result:
    """Its texts are texts from here on; numbers and mappings are picked with care where they are used."""
    for name in TEXTS:
        setattr(result, name, text(getattr(result, name)) or "")
    return result


def _read_requests(path: Path, notes: list[str]) -> list[Request]:
    """Read leniently and fast: `wire.decode` takes some 40 µs a line, four seconds for the largest runs."""
    found: list[Request] = []
    odd = 0
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                request = _request(line)
                if request is None:
                    odd += 1
                else:
                    found.append(request)
    except FileNotFoundError:
        notes.append(f"There is no {REQUESTS}: no load ran, or its records were removed.")
    except OSError as error:
        notes.append(f"{REQUESTS} could not be read: {error.strerror or error}.")
    if odd:
        notes.append(f"{odd} of {odd + len(found)} lines of {REQUESTS} are not requests and were left out.")
    return sorted(found, key=lambda request: request.time)


def _request(line: str) -> Request | None:
    try:
        request = Request(**json.loads(line))
        sound = (
            isinstance(request.client, str)
            and isinstance(request.server, OPTIONAL_TEXT)
            and isinstance(request.error, OPTIONAL_TEXT)
            and isinstance(request.status, OPTIONAL_NUMBER)
            and isinstance(request.local_port, OPTIONAL_NUMBER)
            and 0 <= request.time < MAX_TIME
            and 0 <= request.total_ms < MAX_TIME
            and 0 <= (request.connect_ms or 0) < MAX_TIME
        )
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return request if sound else None


def _read_scenario(path: Path, notes: list[str]) -> dict[str, Any]:
    import yaml  # here and not above: `number` and its like serve readers that have no scenario

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if path.stat().st_size > MAX_SCENARIO:
            raise ValueError("too long")
        scenario = mapping(yaml.load(path.read_text(encoding="utf-8"), Loader=loader))
    except FileNotFoundError:
        notes.append(f"There is no {SCENARIO}: the network can't be drawn.")
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        notes.append(f"{SCENARIO} is not readable: the network can't be drawn.")
        return {}
    if not scenario:
        notes.append(f"{SCENARIO} holds no scenario: the network can't be drawn.")
    return scenario


def _services(scenario: dict[str, Any], result: Result) -> tuple[Service, ...]:
    if not scenario:
        return ()
    named = mapping(scenario, "services") or {"web": {}}
    return tuple(_service(name, value, text(result.services, name, "policy")) for name, value in named.items())


def _service(name: str, value: Any, ran: str | None) -> Service:
    """`ran`: the policy that the run had, which an engine of its own may have instead of the scenario's."""
    servers = pick(value, "servers") or ["h1", "h2"]
    weights = {str(key): number(servers, key, "weight") or 1 for key in servers} if isinstance(servers, dict) else {}
    names = tuple(str(server) for server in servers) if isinstance(servers, (list, dict)) else ()
    return Service(
        name=name,
        address=f"{pick(value, 'ip') or '10.0.1.1'}:{pick(value, 'port') or 80}",
        policy=ran or text(value, "policy"),
        servers=names,
        weights=tuple(int(weights.get(server, 1)) for server in names),
    )


def _clients(scenario: dict[str, Any]) -> tuple[str, ...]:
    if not scenario:
        return ()
    loads = [pick(step, "load") for step in items(scenario, "steps")]
    found = [str(client) for load in loads or [scenario.get("load")] for client in items(load, "clients")]
    return tuple(dict.fromkeys(found))
