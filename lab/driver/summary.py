"""The table at the end of a run: who served what, how fast, what was expected, and where the rest can be read.

Rule: it fits 80 columns, says everything in words as well as in colour, and reads the result alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from lab.record import PASSED, REPORT, Result

COLOURS: Final = {"passed": "bold green", "failed": "bold red", "broken": "bold red", "interrupted": "bold yellow"}
BAR_WIDTH: Final = 24
MAX_SERVERS: Final = 20
MAX_CHECKS: Final = 12  # that held; those that failed are all shown


def show(result: Result, folder: Path, stream: IO[str]) -> None:
    """Print the table of a finished run."""
    console = Console(file=stream, highlight=False, soft_wrap=False)
    console.print()
    console.print(render(result, folder))


def render(result: Result, folder: Path) -> Group:
    parts: list[Table | Text] = [_headline(result)]
    if result.hits and result.requests["sent"]:
        parts += [Text(), _servers(result), Text(), _latency(result)]
    if line := _counters(result):
        parts += [Text(), line]
    if result.expectations:
        parts += [Text(), _expectations(result)]
    return Group(*parts, Text(), _ending(result, folder))


def _headline(result: Result) -> Text:
    style = COLOURS.get(result.verdict, "")
    facts = [result.backend, result.engine, result.policy, result.mode]
    line = Text.assemble((f" {result.verdict.upper()} ", f"{style} reverse"), "  ", (result.scenario, "bold"))
    line.append("  " + " · ".join(fact for fact in facts if fact), "dim")
    return line


def _servers(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("server")
    table.add_column("clients saw", justify="right")
    table.add_column("its own log", justify="right")
    table.add_column("share", justify="right")
    table.add_column("")
    total = sum(ends["client"] or 0 for ends in result.hits.values())
    for name, ends in list(result.hits.items())[:MAX_SERVERS]:
        share = (ends["client"] or 0) / total if total else 0.0
        own = "?" if ends["server"] is None else str(ends["server"])
        table.add_row(Text(name, "bold"), str(ends["client"]), own, f"{share:.1%}", _bar(share))
    if len(result.hits) > MAX_SERVERS:
        table.add_row(f"… and {len(result.hits) - MAX_SERVERS} more")
    return table


def _bar(share: float) -> Text:
    filled = round(share * BAR_WIDTH)
    return Text.assemble(("█" * filled, "cyan"), ("░" * (BAR_WIDTH - filled), "dim"))


def _latency(result: Result) -> Table:
    requests = result.requests
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("latency (ms)", min_width=12)
    for column in ("p50", "p95", "p99"):
        table.add_column(column, justify="right", min_width=7)
    table.add_column(f"  {_count(requests['sent'], 'request')}, {requests['failed']} failed{_dropped(result)}")
    for phase, values in result.latency_ms.items():
        table.add_row(Text(phase, "bold"), *(_ms(value) for value in values.values()))
    return table


def _dropped(result: Result) -> str:
    return f", {result.dropped} not sent in time" if result.dropped else ""


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"  # noqa: RUF001  a dash for "none", as in a printed table


def _counters(result: Result) -> Text | None:
    counters = result.controller
    if counters["packet_ins_total"] is None:
        return Text("packet-ins  not told by this engine", "dim") if result.engine == "stock" else None
    line = Text()
    for key, name in (("packet_ins", "packet-ins"), ("flow_mods", "flow-mods")):
        line.append(f"{name} ", "dim")
        line.append(str(counters[key]), "bold")
        line.append(f" for these, {counters[f'{key}_total']} in all     ", "dim")
    line.rstrip()
    return line


def _expectations(result: Result) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    held = [check for check in result.expectations if check.passed]
    for check in result.expectations:
        if not check.passed:
            table.add_row(Text("FAILED", "bold red"), Text(check.name, "bold"), Text(check.detail))
        elif check in held[:MAX_CHECKS]:
            table.add_row(Text("ok", "green"), check.name, Text(check.detail, "dim"))
    if len(held) > MAX_CHECKS:
        table.add_row(Text("ok", "green"), f"… and {len(held) - MAX_CHECKS} more")
    return table


def _ending(result: Result, folder: Path) -> Group:
    lines = [_sentence(result)]
    if result.left:
        lines.append(Text.assemble(("left behind: ", "bold red"), result.left))
    lines += [Text(f"note: {note}", "yellow") for note in result.notes]
    report = folder / REPORT
    lines.append(_path("report" if report.exists() else "run", report if report.exists() else folder))
    return Group(*lines)


def _sentence(result: Result) -> Text:
    style = COLOURS.get(result.verdict, "")
    if result.reason:
        return Text.assemble((f"{result.verdict}: ", style), result.reason)
    failed = sum(not check.passed for check in result.expectations)
    total = _count(len(result.expectations), "expectation")
    said = f"all of {total} held" if result.verdict == PASSED else f"{failed} of {total} failed"
    return Text.assemble((f"{result.verdict}: ", style), f"{said}, {_timing(result)}")


def _timing(result: Result) -> str:
    names = {"bring_up": "up", "run": "run", "tear_down": "down"}
    parts = [
        f"{name} {result.timing_s[key]:.1f}" for key, name in names.items() if result.timing_s.get(key) is not None
    ]
    return f"in {result.duration_s:.1f} s ({', '.join(parts)})"


def _path(what: str, path: Path) -> Text:
    line = Text(f"{what}: ", "dim", no_wrap=True, overflow="ignore")  # never broken: it is there to be copied
    line.append(str(path), f"link {path.resolve().as_uri()}")
    return line


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def show_labs(rows: Sequence[tuple[str, ...]], stream: IO[str]) -> None:
    """The kept labs: name, backend, scenario, age, address."""
    table = Table("lab", "backend", "scenario", "up for", "address", box=None, pad_edge=False, header_style="dim")
    for row in rows:
        table.add_row(*row)
    Console(file=stream, highlight=False).print(table)
