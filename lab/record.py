"""What a run leaves on disk: the folder, the files in it, and the result. Written by the driver, read by the report.

Standard library only, so that a report or another program can read a run without the driver's packages.
The one rule: a file under its final name is whole. Each is written beside it and renamed; requests.ndjson grows as
`.requests.ndjson.part` and gets its name when the load is over, so a crash leaves no half-file to be taken for whole.
Field names of result.json are stable: later work adds, never renames.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.wire import Request, decode, encode

SCHEMA = "balance-lab/result/1"
PASSED, FAILED, BROKEN, INTERRUPTED = VERDICTS = ("passed", "failed", "broken", "interrupted")
RESULT, REQUESTS, SCENARIO, REPORT = "result.json", "requests.ndjson", "scenario.yaml", "report.html"


def _no_latency() -> dict[str, dict[str, float | None]]:
    return {phase: dict.fromkeys(("p50", "p95", "p99")) for phase in ("connect", "total")}


def _no_counters() -> dict[str, int | None]:
    return dict.fromkeys(("packet_ins", "flow_mods", "packet_ins_total", "flow_mods_total"))


def _no_timing() -> dict[str, float | None]:
    return dict.fromkeys(("bring_up", "run", "tear_down"))


@dataclass(kw_only=True, slots=True)
class Expectation:
    """One checked statement. `detail` says what was found and what was expected."""

    name: str  # hits.h1, or steps.2.hits.h1 for a step's own
    passed: bool
    detail: str


@dataclass(kw_only=True, slots=True)
class Result:
    """result.json. What isn't known is null; a run that broke early holds what there was."""

    scenario: str
    schema: str = SCHEMA
    verdict: str = BROKEN  # until proven otherwise: a run that ends nobody knows how has not passed
    backend: str | None = None
    engine: str | None = None
    policy: str | None = None
    mode: str | None = None
    datapath: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=lambda: {"sent": 0, "ok": 0, "failed": 0})
    hits: dict[str, dict[str, int | None]] = field(default_factory=dict)  # server → {"client", "server"}
    latency_ms: dict[str, dict[str, float | None]] = field(default_factory=_no_latency)
    services: dict[str, dict[str, Any]] = field(default_factory=dict)  # name → {"policy", "hits"}
    controller: dict[str, int | None] = field(default_factory=_no_counters)
    expectations: list[Expectation] = field(default_factory=list)
    timing_s: dict[str, float | None] = field(default_factory=_no_timing)
    # beyond the contract
    name: str = ""  # of the run's folder
    about: str = ""
    started: str = ""  # ISO 8601, UTC
    duration_s: float = 0.0
    left: str | None = None  # what its tear-down could not remove, and the command that does; the verdict stands
    reason: str | None = None  # why it broke or was interrupted: one sentence
    why: dict[str, str] = field(default_factory=dict)  # "backend", "engine" → the reason for the choice
    dropped: int = 0  # requests that an open load could not start in time
    pingall_loss: float | None = None  # percent
    controller_memory_mb_growth: float | None = None  # from the first step to its peak
    steps: list[dict[str, Any]] = field(
        default_factory=list
    )  # what was done when: {"what", "started_s", "ended_s"}, "outcome"
    notes: list[str] = field(default_factory=list)  # what a reader should know that fits nowhere else

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Raises ValueError where `data` is no result. Fields of a newer kit are left out."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA!r}, got {data.get('schema')!r}")
        known = {key: data[key] for key in data if key in {f.name for f in fields(cls)}}
        known["expectations"] = [Expectation(**item) for item in data.get("expectations", [])]
        return cls(**known)

    def write(self, folder: Path) -> None:
        write_text(folder / RESULT, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Result:
        """Raises OSError (no such run) or ValueError (not a result)."""
        return cls.from_json(json.loads((folder / RESULT).read_text(encoding="utf-8")))


def write_text(path: Path, text: str) -> None:
    """The whole file or none: written beside it, then renamed."""
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def read_requests(folder: Path) -> Iterator[Request]:
    """The requests of a run in the order they finished; none where no load ran. Raises ValueError on a bad line."""
    path = folder / REQUESTS
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield decode(Request, json.loads(line))


class RequestLog:
    """requests.ndjson while it grows. Closing gives it its name, also after an error: its lines are whole."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / REQUESTS
        self._scratch = folder / f".{REQUESTS}.part"
        self._file = self._scratch.open("w", buffering=1, encoding="utf-8")  # whole lines, at once

    def add(self, request: Request) -> None:
        self._file.write(json.dumps(encode(request), ensure_ascii=False) + "\n")

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._scratch.replace(self._path)

    def __enter__(self) -> RequestLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class RunFolder:
    """`<parent>/<UTC time>-<scenario>[-n]/`, made new for each run; `<parent>/latest` points to the last one made with
    `latest`: the last run of a lab."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, scenario: str, now: datetime | None = None, *, latest: bool = True) -> RunFolder:
        """Raises OSError where the folder can't be made."""
        parent.mkdir(parents=True, exist_ok=True)
        path = _make_new(parent, f"{stamp(now)}-{_slug(scenario)}")
        if latest:
            with contextlib.suppress(OSError):  # a file system without links, or a race with a run beside us: no harm
                _point(parent / "latest", path.name)
        return cls(path)

    def write(self, name: str, text: str) -> None:
        write_text(self.path / name, text)

    def requests(self) -> RequestLog:
        return RequestLog(self.path)


def stamp(now: datetime | None = None) -> str:
    """20260102T030405Z: sorts by time, and may stand in a file name everywhere."""
    return (now or datetime.now(timezone.utc)).astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:40] or "run"


def _make_new(parent: Path, name: str) -> Path:
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
            return path
        except FileExistsError:  # another run of this second
            number += 1


def _point(link: Path, target: str) -> None:
    scratch = link.with_name(f".latest.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)
