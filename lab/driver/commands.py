"""What the commands do: scenarios run one after the other, labs kept and ended, and the small ones beside them.

Rule: every scenario is read and found sound before anything is started; standard output holds what was asked for, all
else goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from lab.driver import backends, pox_supply
from lab.driver.backends import registry
from lab.driver.backends.ahead import Ahead
from lab.driver.backends.port import fixed_port
from lab.driver.errors import LabError, UsageError
from lab.driver.guard import Guard, Interrupted
from lab.driver.plan import Plan, make_plan
from lab.driver.preload import preload
from lab.driver.progress import make_screen
from lab.driver.runner import Run, free_name
from lab.driver.scenario import Scenario, load
from lab.driver.wording import alternatives, quote
from lab.record import BROKEN, FAILED, INTERRUPTED, PASSED, Result, RunFolder

EXIT_CODES: Final = {PASSED: 0, FAILED: 1, BROKEN: 3, INTERRUPTED: 130}
LONGEST_COMMAND_S: Final = 86_400
SCENARIOS: Final = Path(__file__).resolve().parent.parent / "scenarios"


def load_all(paths: Sequence[str], overrides: Mapping[str, Any]) -> list[Scenario]:
    """Every scenario, or a UsageError with the mistakes of all of them."""
    scenarios: list[Scenario] = []
    mistakes: list[str] = []
    for path in paths:
        try:
            scenarios.append(load(path, **overrides))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return scenarios


def run_scenarios(
    paths: Sequence[str],
    overrides: Mapping[str, Any],
    ahead: Ahead,
    *,
    backend: str,
    out: Path,
    junit: Path | None,
    as_json: bool,
    keep: bool,
    verbose: bool,
) -> int:
    """Run them in order; the worst exit code. An interruption ends the row."""
    scenarios = load_all(paths, overrides)
    chosen = _choose(backend)
    ahead.offer(chosen[0])
    if junit is not None:
        _check_junit(junit)
    if os.environ.get("POX_SOURCE") and any(scenario.engine != "osken" for scenario in scenarios):
        pox_supply.find_pox()  # one that gives no POX is told before there is a run's folder
    preload("lab.driver.agent_client", *(["rich.progress"] if sys.stderr.isatty() else []))
    results: list[Result] = []
    worst = 0
    try:
        for scenario in scenarios:
            folder = _make_folder(out, scenario.name)
            run = Run(scenario, _planner(scenario, chosen, keep, verbose), folder, make_screen())
            try:
                run.execute()
            finally:
                results.append(run.result)
            _show(run, folder.path, as_json)
            worst = max(worst, EXIT_CODES[run.result.verdict], EXIT_CODES[INTERRUPTED] if run.caught else 0)
            if run.caught:
                break
    finally:
        if junit is not None:
            _write_junit(results, junit)
    return EXIT_CODES[BROKEN] if any(result.left for result in results) else worst


def bring_up(scenario: str, overrides: Mapping[str, Any], *, name: str | None, backend: str, verbose: bool) -> int:
    """A lab that stays: network built, controller connected, servers up, nothing sent."""
    from lab.driver.session import Session

    (sound,) = load_all([scenario], overrides)
    plan = make_plan(sound, _choose(backend), keep=True, verbose=verbose)
    print(f"backend {plan.backend.name} ({plan.backend_why})\nengine  {plan.engine} ({plan.engine_why})", flush=True)
    session = None
    try:
        with Guard() as guard:
            try:
                plan.backend.prepare(plan.pox)
                guard.limit(sound.time_limit_s)
                session = Session(plan.backend.up(name or free_name(sound.name, keep=True), plan.pox, True))
                session.build(plan)
            finally:
                guard.shield()
    except BaseException as error:
        if session is not None:
            reason = session.explain(error) if isinstance(error, LabError) else None
            session.lab.down()  # raises what it can't remove: that is the thing to know then
            if reason:
                raise LabError(reason) from None
        if isinstance(error, Interrupted):
            raise KeyboardInterrupt from None
        if not isinstance(error, Exception):
            raise LabError(f"the lab was not up within its time limit of {sound.time_limit_s:g} s") from None
        raise
    registry.set_scenario(session.lab.name, sound.name)
    print(_how_to_use(session.lab.name, plan))
    return 0


def take_down(name: str | None, every: bool) -> int:
    if name and every:
        raise UsageError("down takes a lab's name or --all, not both")
    if every:
        ended = backends.down_all()
    else:
        entry = registry.named(name)
        backends.attach(entry).down()
        ended = [entry.name]
    print("\n".join(f"{lab} is down" for lab in ended) or "no lab is running")
    return 0


def show_status() -> int:
    entries = registry.entries()
    if not entries:
        print("no lab is running")
        return 0
    from lab.driver.summary import show_labs

    now = time.time()
    rows = [(e.name, e.backend, e.scenario or "-", _age(now - e.started), e.url) for e in entries]
    show_labs(rows, sys.stdout)
    return 0


def run_on_host(name: str | None, host: str, argv: list[str], timeout_s: float) -> int:
    """The command's own exit code, output and errors."""
    from lab.driver.agent_client import Agent, Refused

    if not 0 < timeout_s <= LONGEST_COMMAND_S:  # nor is it NaN
        raise UsageError(f"--timeout {timeout_s:g}: it must be more than 0 s and at most {LONGEST_COMMAND_S} s (a day)")
    entry = registry.named(name)
    try:
        answer = Agent(entry.url, entry.token).exec(host, argv, timeout_s)
    except Refused as error:
        raise UsageError(str(error)) from None
    sys.stdout.write(answer.get("stdout", ""))
    sys.stderr.write(answer.get("stderr", ""))
    return int(answer["exit_code"])


def list_scenarios() -> int:
    for path in sorted(SCENARIOS.glob("*.yaml")):
        scenario = load(str(path))
        print(f"scenarios/{path.name:<22} {scenario.about}")
    return 0


def write_report(folder: Path) -> int:
    from lab.report.data import ReportError
    from lab.report.html import write_html

    try:
        print(write_html(folder))
    except ReportError as error:
        raise UsageError(str(error)) from None
    return 0


def _choose(backend: str) -> tuple[backends.Backend, str]:
    if backend not in backends.NAMES:
        raise UsageError(f"unknown backend {quote(backend)}{alternatives(backend, backends.NAMES)}")
    fixed_port(os.environ)
    return backends.choose(backend)


def _planner(scenario: Scenario, chosen: tuple[backends.Backend, str], keep: bool, verbose: bool) -> Any:
    return lambda: make_plan(scenario, chosen, keep=keep, verbose=verbose)


def _make_folder(out: Path, scenario: str) -> RunFolder:
    try:
        return RunFolder.create(out, scenario)
    except OSError as error:
        raise UsageError(f"no folder for runs can be made in {out}: {error.strerror or error}") from None


def _check_junit(path: Path) -> None:
    """What would keep it from being written after the runs, found before them."""
    if path.is_dir():
        raise UsageError(f"--junit {path}: that is a folder, and it takes a file's name")
    if not path.parent.is_dir():
        raise UsageError(f"--junit {path}: there is no folder {path.parent}")
    probe = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--junit {path} can't be written: {error.strerror or error}") from None


def _show(run: Run, folder: Path, as_json: bool) -> None:
    """Report, table, and the line of JSON."""
    from lab.driver.summary import show

    stream: IO[str] = sys.stderr if as_json else sys.stdout
    _write_report_of(run.result, folder)
    show(run.result, folder, stream)
    if run.kept and run.plan:
        print(_how_to_use(run.kept, run.plan), file=stream)
    if as_json:
        line = {**run.result.to_json(), "folder": str(folder)}
        print(json.dumps(line, ensure_ascii=False), flush=True)


def _write_report_of(result: Result, folder: Path) -> None:
    """A page that can't be made costs the run nothing but a note."""
    try:
        from lab.report.html import write_html

        write_html(folder)
    except Exception as error:
        result.notes.append(f"the report could not be made: {error}")


def _write_junit(results: Sequence[Result], path: Path) -> None:
    from lab.report import junit

    try:
        junit.write(results, path)
    except OSError as error:
        raise LabError(f"--junit {path} could not be written: {error.strerror or error}") from None


def _how_to_use(name: str, plan: Plan) -> str:
    service = next(iter(plan.scenario.controller().services))
    client = plan.scenario.network().hosts[-1].name
    port = "" if service.port == 80 else f":{service.port}"
    host = f"[{service.ip}]" if ":" in service.ip else service.ip
    ask = f"curl -s http://{host}{port}/"
    if service.protocol == "udp":
        ask = f"bash -c 'exec 3<>/dev/udp/{service.ip}/{service.port}; echo >&3; head -n 1 <&3'"
    return (
        f"lab {name} is up and stays; try\n"
        f"  python lab/run_lab.py exec --lab {name} {client} -- {ask}\n"
        f"  python lab/run_lab.py down {name}"
    )


def _age(seconds: float) -> str:
    minutes = int(seconds) // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {int(seconds) % 60} s"
