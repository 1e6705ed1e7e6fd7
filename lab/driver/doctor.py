"""What this machine can run, what it lacks, and the command that mends it: `python lab/run_lab.py doctor`.

`examine` looks (under 1.5 s, everything at once, nothing changed), `show` prints. The one rule: a "no" comes with a
reason and, where there is one, with the command to type.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab.driver import pox_supply
from lab.driver.backends import Missing, choose
from lab.driver.errors import LabError, UsageError
from lab.driver.pox_supply import PoxResult

BACKENDS = ("compose", "sandbox")
ENGINES = ("pox", "osken", "stock")
NEED_POX = ("pox", "stock")
EXIT_OK, EXIT_NOTHING_RUNS = 0, 3
SYSTEM_PYTHON = "/usr/bin/python3"  # where Debian's packages are, whatever `python3` is in the PATH

# Program and its version's place in the answer; one that isn't there or doesn't answer has no version.
PROGRAMS: dict[str, tuple[list[str], str]] = {
    "Open vSwitch": (["ovs-vswitchd", "--version"], r"Open vSwitch\) (\S+)"),
    "curl": (["curl", "--version"], r"curl (\S+)"),
    "git": (["git", "--version"], r"version (\S+)"),
    "Docker engine": (["docker", "version", "--format", "{{.Server.Version}}"], r"^(\d\S*)"),
    "Docker Compose": (["sh", "-c", "docker compose version --short || docker-compose version --short"], r"^v?(\d\S*)"),
}
PYTHON_MODULES = {"Mininet": "mininet", "os-ken": "os_ken"}
_PATIENCE = 1.0  # s, for any one program


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """Something found here; `good` None: neither good nor bad."""

    name: str
    value: str
    good: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    missing: dict[str, list[Missing]]  # backend -> what it lacks
    pox: PoxResult
    facts: tuple[Fact, ...]

    @property
    def runs(self) -> list[str]:
        """Backends that can run a lab here."""
        return [backend for backend, gaps in self.missing.items() if not gaps]

    @property
    def exit_code(self) -> int:
        return EXIT_OK if self.runs else EXIT_NOTHING_RUNS

    def verdict(self, backend: str, engine: str) -> str:
        """yes, no, or later (as soon as POX has been fetched)."""
        if self.missing[backend]:
            return "no"
        if engine not in NEED_POX or self.pox.path:
            return "yes"
        return "later" if self.pox.in_reach else "no"


def examine() -> Report:
    """Look at everything at once."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        gaps = {backend: pool.submit(_gaps, backend) for backend in BACKENDS}
        pox = pool.submit(_pox)
        modules = pool.submit(_module_versions)
        versions = {name: pool.submit(_version, *asked) for name, asked in PROGRAMS.items()}
        facts = [*_machine(), *_kernel(), *modules.result()]
        facts += [_found(name, version.result()) for name, version in versions.items()]
        return Report(
            missing={backend: found.result() for backend, found in gaps.items()}, pox=pox.result(), facts=tuple(facts)
        )


def show(report: Report, console: Console) -> None:
    console.print(_matrix(report))
    console.print(report.pox.why, markup=False, highlight=False, soft_wrap=True)
    for backend, gaps in report.missing.items():
        for gap in gaps:
            console.print(f"[bold]{backend}[/] lacks: ", end="", highlight=False)
            console.print(gap.what, markup=False, highlight=False, soft_wrap=True)
            console.print(f"    mend: {gap.mend}", markup=False, highlight=False, soft_wrap=True)
    console.print(_facts(report.facts))
    console.print(_closing(report), highlight=False, soft_wrap=True)


def run(console: Console | None = None) -> int:
    """Look, print, and give the exit code: 0 when at least one backend can run."""
    report = examine()
    show(report, console or Console())
    return report.exit_code


def _matrix(report: Report) -> Table:
    table = Table("backend", *ENGINES, title="What this machine can run", title_justify="left")
    colours = {"yes": "green", "no": "red", "later": "yellow"}
    for backend in report.missing:
        verdicts = [report.verdict(backend, engine) for engine in ENGINES]
        table.add_row(backend, *(f"[{colours[verdict]}]{verdict}[/]" for verdict in verdicts))
    return table


def _facts(facts: Sequence[Fact]) -> Table:
    table = Table("what", "found here", title="What is here", title_justify="left")
    styles = {True: "green", False: "yellow", None: "default"}
    for fact in facts:
        table.add_row(fact.name, fact.value, style=styles[fact.good])
    return table


def _closing(report: Report) -> str:
    if not report.runs:
        return "No backend can run here yet: the commands above mend it, and `make demo` does it all."
    return f"Ready: python lab/run_lab.py scenarios/round_robin.yaml (backend {report.runs[0]})"


def _gaps(backend: str) -> list[Missing]:
    try:
        return choose(backend)[0].missing()
    except (LabError, UsageError) as error:
        return [Missing(what=str(error), mend="see the sentence above")]


def _pox() -> PoxResult:
    try:
        return pox_supply.outlook(_PATIENCE)
    except UsageError as error:
        return PoxResult(path=None, why=str(error))


def _found(name: str, version: str | None) -> Fact:
    return Fact(name=name, value=version or "not found", good=version is not None)


def _version(command: list[str], pattern: str) -> str | None:
    found = re.search(pattern, _answer(command), re.MULTILINE)
    return found[1] if found else None


def _module_versions() -> list[Fact]:
    script = (
        "import sys\nfrom importlib.metadata import version, PackageNotFoundError\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(version(name))\n"
        "    except PackageNotFoundError: print()"
    )
    lines = _answer([SYSTEM_PYTHON, "-c", script, *PYTHON_MODULES.values()]).splitlines()
    lines += [""] * (len(PYTHON_MODULES) - len(lines))
    return [_found(name, line or None) for name, line in zip(PYTHON_MODULES, lines)]


def _answer(command: list[str]) -> str:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _machine() -> list[Fact]:
    return [
        Fact(name="system", value=_system()),
        Fact(name="Python", value=platform.python_version(), good=True),
        Fact(name="user", value="root" if os.geteuid() == 0 else f"not root (id {os.geteuid()})"),
    ]


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        name = platform.system()
    return f"{name}, kernel {platform.release()}"


def _kernel() -> list[Fact]:
    tests: dict[str, tuple[Callable[[], bool], str, str]] = {
        "openvswitch module": (_kernel_switch, "there: kernel datapath", "not there: userspace datapath, slower"),
        "/dev/net/tun": (lambda: os.access("/dev/net/tun", os.R_OK | os.W_OK), "usable", "not there or not permitted"),
        "user namespaces": (_user_namespaces, "permitted", "not permitted: the sandbox needs root"),
    }
    found = [(name, test(), yes, no) for name, (test, yes, no) in tests.items()]
    return [Fact(name=name, value=yes if is_so else no, good=is_so) for name, is_so, yes, no in found]


def _kernel_switch() -> bool:
    modules = Path("/lib/modules", platform.release(), "modules.dep")
    return Path("/sys/module/openvswitch").exists() or (
        modules.is_file() and "/openvswitch.ko" in modules.read_text(errors="replace")
    )


def _user_namespaces() -> bool:
    return _answer(["unshare", "--user", "--map-root-user", "id", "-u"]).strip() == "0"
