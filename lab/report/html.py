"""report.html: one page about one run, complete in itself: no script, no font, no address outside its folder.

The data comes first (`data`, `summary`), pictures and words for it here, the template only sets them in place.
Rule: the page appears whole or not at all, and everything in it is escaped: names and error texts come from a network.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined, Template

from lab.record import BROKEN, FAILED, INTERRUPTED, PASSED, REPORT, VERDICTS
from lab.report.charts import latency_chart, ms_text, time_text, timeline_chart
from lab.report.data import ReportError, Run, items, mapping, number, pick, read_run, text
from lab.report.drawing import network_picture
from lab.report.summary import COLOURS, Summary, is_load, summarise

TEMPLATES: Final = Path(__file__).parent / "templates"
MARKS: Final = {PASSED: "\N{CHECK MARK}", FAILED: "\N{BALLOT X}", BROKEN: "!", INTERRUPTED: "\N{BLACK SQUARE}"}
UNKNOWN: Final = "\N{EN DASH}"
CONTROLLER_ROWS: Final = {
    "packet_ins": "packet-ins for the service",
    "flow_mods": "flow-mods for the service",
    "packet_ins_total": "packet-ins, all",
    "flow_mods_total": "flow-mods, all",
}
PHASE_NAMES: Final = {"bring_up": "bring up", "run": "run", "tear_down": "tear down"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    name: str
    value: str
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """An expectation, or a step: `passed` None where neither."""

    name: str
    passed: bool | None
    detail: str


def write_html(folder: Path) -> Path:
    """Read the run in `folder`, write its report.html, return that path. Raises ReportError (one sentence)."""
    page = render(read_run(folder))
    target = folder / REPORT
    try:
        _write_whole(target, page)
    except OSError as error:
        raise ReportError(f"{target} can't be written: {error.strerror or error}") from None
    return target


def render(run: Run) -> str:
    summary = summarise(run)
    verdict = run.result.verdict if run.result.verdict in VERDICTS else BROKEN
    return _template().render(
        run=run,
        summary=summary,
        verdict=verdict,
        mark=MARKS[verdict],
        reason=run.result.reason,
        figures=_figures(run, summary),
        setup=_setup(run),
        expectations=_expectations(run),
        steps=_steps(run),
        controller=_controller(run),
        versions=[
            Fact(name=_words(name), value=str(value)) for name, value in mapping(run.result.versions).items() if value
        ],
        timing=_timing(run),
        network=network_picture(run, summary),
        timeline=timeline_chart(summary),
        latency=latency_chart(summary.curves),
        shared_colour=COLOURS,
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        bytecode_cache=_compiled(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(ms=ms_text, percent=_percent, known=_known, count=_count)
    return environment.get_template("report.html.j2")


def _compiled() -> FileSystemBytecodeCache | None:
    """Where the template's compiled form is kept, as Python keeps its own: making it takes 0.08 s of each run."""
    folder = TEMPLATES / "__pycache__"
    with contextlib.suppress(OSError):
        folder.mkdir(exist_ok=True)
    return FileSystemBytecodeCache(str(folder)) if os.access(folder, os.W_OK) else None


def _write_whole(target: Path, page: str) -> None:
    """Beside it, then renamed. A lone surrogate, which JSON can spell and UTF-8 can't, becomes a question mark."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        scratch.write_bytes(page.encode("utf-8", "replace"))
        scratch.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


def _percent(part: float | None) -> str:
    return UNKNOWN if part is None else f"{100 * part:.1f} %"


def _known(value: object) -> object:
    return UNKNOWN if value is None else value


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _words(name: str) -> str:
    return {"open_vswitch": "Open vSwitch", "mininet": "Mininet", "pox": "POX", "os_ken": "os-ken"}.get(
        name, name.replace("_", " ")
    )


def _figures(run: Run, summary: Summary) -> list[Fact]:
    """The run in a few large numbers."""
    sent = number(run.result.requests, "sent")
    failed = number(run.result.requests, "failed")
    total = summary.latency[1]
    facts = [
        Fact(name="requests sent", value=_count(len(run.requests) if sent is None else sent)),
        Fact(name="failed", value=_count(summary.failures.count if failed is None and run.requests else failed)),
        Fact(name="median response", value=ms_text(total.p50), why="ms" if total.p50 is not None else ""),
        Fact(name="95 % within", value=ms_text(total.p95), why="ms" if total.p95 is not None else ""),
    ]
    if (per := _per_connection(run, "packet_ins")) is not None:
        facts.append(Fact(name="packet-ins per request", value=f"{per:.3g}"))
    if (loss := number(run.result.pingall_loss)) is not None:
        facts.append(Fact(name="pings lost, all to all", value=f"{loss:.3g}", why="%"))
    if dropped := number(run.result.dropped):
        facts.append(Fact(name="not sent in time", value=_count(dropped)))
    return facts


def _per_connection(run: Run, key: str) -> float | None:
    sent, count = number(run.result.requests, "sent"), number(run.result.controller, key)
    return count / sent if sent and count is not None else None


def _setup(run: Run) -> list[Fact]:
    """What ran, and why that."""
    result = run.result
    names = ("backend", "engine", "policy", "mode", "datapath")
    return [Fact(name=name, value=getattr(result, name) or UNKNOWN, why=text(result.why, name) or "") for name in names]


def _expectations(run: Run) -> list[Check]:
    """Failed ones first: they are what one looks for."""
    checks = [
        Check(name=str(item.name), passed=item.passed is True, detail=str(item.detail))
        for item in run.result.expectations
    ]
    return sorted(checks, key=lambda check: bool(check.passed))


def _steps(run: Run) -> list[Fact]:
    """Of runs that did more than one round of requests."""
    steps = items(run.result.steps)
    if all(is_load(str(pick(step, "what"))) for step in steps) and len(steps) < 2:
        return []
    return [Fact(name=str(pick(step, "what") or "step"), value=_span(step)) for step in steps[:100]]


def _span(step: object) -> str:
    began, ended = number(step, "started_s"), number(step, "ended_s")
    if began is None:
        return UNKNOWN
    outcome = f": {said}" if (said := pick(step, "outcome")) else ""
    return f"at {began:.2f} s" + (f", took {ended - began:.2f} s{outcome}" if ended is not None else ", not ended")


def _controller(run: Run) -> list[Fact]:
    facts = []
    for key, name in CONTROLLER_ROWS.items():
        per = None if key.endswith("total") else _per_connection(run, key)
        why = f"{per:.3g} per request" if per is not None else ""
        facts.append(Fact(name=name, value=_count(number(run.result.controller, key)), why=why))
    return facts + list(_more_counters(run))


def _more_counters(run: Run) -> Iterator[Fact]:
    """Counters of a newer kit, and drops by their reason."""
    for key, value in mapping(run.result.controller).items():
        if key in CONTROLLER_ROWS:
            continue
        for reason, count in (mapping(value) or {"": value}).items():
            if number(count) is not None:
                yield Fact(name=f"{_words(key)} {_words(reason)}".strip(), value=_count(count))


def _timing(run: Run) -> list[Fact]:
    timing = mapping(run.result.timing_s)
    names = dict.fromkeys([*PHASE_NAMES, *timing])
    return [
        Fact(
            name=PHASE_NAMES.get(name, _words(name)), value=UNKNOWN if value is None else f"{time_text(value, 0.01)} s"
        )
        for name in names
        for value in [number(timing, name)]
    ]
