"""The engine as a process: its command line, its start and end, its log, its statistics.

Rule: `start` answers when the engine listens for switches, or raises with the engine's last words; it never leaves two
engines running.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import json
import logging
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Final

from lab import wire
from lab.engines import control
from lab.engines.environment import CONFIGURATION, CONTROL_SOCKET
from lab.engines.stock import stock_arguments, stock_statistics

START_TIMEOUT_S: Final = 15.0
STOP_TIMEOUT_S: Final = 3.0
POLL_S: Final = 0.003
LAST_WORDS: Final = 3  # lines of the log quoted in an error

log = logging.getLogger("supervisor")


class EngineError(Exception):
    """The engine didn't start, or isn't there; the text is one sentence."""


class MissingEngine(EngineError):
    """The engine asked for can't be had here."""


class Engine:
    """At most one engine process. `pox_home`: POX's folder or None; `state`: a folder for its files."""

    def __init__(self, state: Path, pox_home: Path | None, openflow_host: str = "127.0.0.1") -> None:
        self._state = state
        self._pox_home = pox_home
        self._host = openflow_host
        self._config: wire.Controller | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.name: str | None = None
        state.mkdir(parents=True, exist_ok=True)

    @classmethod
    def from_environment(cls) -> Engine:
        home = os.environ.get("POX_HOME", "")
        pox = Path(home) if home and (Path(home) / "pox.py").is_file() else None
        state = Path(os.environ.get("LAB_STATE", "/run/balance-lab"))
        return cls(state, pox, os.environ.get("LAB_OPENFLOW_HOST", "127.0.0.1"))

    def start(self, config: wire.Controller) -> dict[str, Any]:
        """Stop what runs, start as configured. Raises ValueError, MissingEngine or EngineError."""
        name, why = self._choose(config)
        if name == "stock" or self._running() is not None:
            _check(config)  # what can't be done is told before anything is stopped
        self.stop()
        before, self.name, self._config = (self.name, self._config), name, config
        self._config_file.write_text(json.dumps(wire.encode(config)))
        self._control_socket.unlink(missing_ok=True)
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(name, config), stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                env=self._environment(), cwd=self._state,
            )  # fmt: skip
        try:
            self._wait_until_it_listens()
        except EngineError:
            self._blame(config, before)
            raise
        log.info("engine %s listens on %s:%d (%s)", name, self._host, wire.OPENFLOW_PORT, why)
        return {"engine": name, "why": why, "pid": self._process.pid, "versions": self.versions()}

    def _blame(self, config: wire.Controller, before: tuple[str | None, wire.Controller | None]) -> None:
        """A wrong configuration ends every engine: if it was that, it is told, and what was configured before stays."""
        try:
            _check(config)
        except ValueError:
            (self.name, self._config), self._process = before, None
            raise

    def restart(self) -> dict[str, Any]:
        if self._config is None:
            raise MissingEngine("no controller was configured yet: PUT /controller first")
        return self.start(self._config)

    def stop(self) -> None:
        process = self._running()
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self, number: signal.Signals) -> None:
        process = self._running()
        if process is None:
            raise MissingEngine("no controller is running")
        process.send_signal(number)
        if number is signal.SIGKILL:
            process.wait()

    def status(self) -> dict[str, Any]:
        process = self._process
        code = None if process is None else process.poll()
        return {
            "running": self._running() is not None,
            "engine": self.name,
            "pid": None if process is None else process.pid,
            "exit_code": code,
            "versions": self.versions(),
            **_memory(process.pid if process is not None and code is None else None),
            "cpu_s": _cpu_s(process.pid if process is not None and code is None else None),
            "statistics": self._statistics(),
        }

    def pool(self, operation: str, **args: Any) -> dict[str, Any]:
        """Ask the running engine something of its pool. Raises MissingEngine, control.ControlError."""
        if self._running() is None:
            raise MissingEngine("no controller is running")
        if self.name == "stock":
            raise MissingEngine("engine stock's pool is fixed; use engine pox or osken")
        return self._ask(operation, **args)

    def log_text(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""

    def listening(self) -> bool:
        return self._running() is not None and _is_listening(self._host, wire.OPENFLOW_PORT)

    def versions(self) -> dict[str, str | None]:
        return {"pox": _pox_version(self._pox_home), "os_ken": _os_ken_version()}

    def _statistics(self) -> dict[str, Any] | None:
        if self._running() is None or self._config is None:
            return None
        if self.name == "stock":
            return stock_statistics(self._config, self.log_text())
        if not self._control_socket.exists():
            return None
        try:
            return self._ask("statistics")
        except control.ControlError as error:  # it is busy, or about to end: that it runs is known all the same
            log.warning("no statistics: %s", error)
            return None

    def _ask(self, operation: str, **args: Any) -> dict[str, Any]:
        answer: dict[str, Any] = control.ask(str(self._control_socket), operation, **args)
        return answer

    def _wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.listening():
            if self._running() is None:
                raise EngineError(f"the controller ended while starting: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise EngineError(f"the controller didn't listen within {START_TIMEOUT_S:g} s: {self._last_words()}")
            time.sleep(POLL_S)

    def _choose(self, config: wire.Controller) -> tuple[str, str]:
        """Which engine, and why."""
        wanted, six = config.engine, any(":" in service.ip for service in config.services)
        if six and wanted == "auto":
            wanted = "osken"  # and says so where there is none
        if six and wanted in ("pox", "stock"):
            raise ValueError(f"engine {wanted} can't rewrite IPv6 addresses (OpenFlow 1.0); use engine osken")
        if wanted == "auto":
            return ("pox", "POX is here") if self._pox_home else ("osken", "no POX here")
        if wanted not in ("pox", "osken", "stock"):
            raise ValueError(f"engine {wanted!r} isn't known; known: auto, osken, pox, stock")
        if wanted != "osken" and self._pox_home is None:
            how = "set POX_SOURCE to a folder or git repository of POX and start the lab again, or use engine osken"
            raise MissingEngine(f"engine {wanted} needs POX, and there is none here: {how}")
        if wanted == "osken" and _os_ken_version() is None:
            raise MissingEngine("engine osken needs os-ken, and there is none here: install python3-os-ken")
        return wanted, "asked for"

    def _command(self, name: str, config: wire.Controller) -> list[str]:
        if name == "osken":
            listen = ["--ofp-listen-host", self._host, "--ofp-tcp-listen-port", str(wire.OPENFLOW_PORT)]
            return ["/usr/bin/python3", "-m", "lab.engines.osken_start", *listen, "lab.engines.osken_balancer"]
        pox = ["/usr/bin/python3", f"{self._pox_home}/pox.py"]
        listen = ["openflow.of_01", f"--address={self._host}", f"--port={wire.OPENFLOW_PORT}"]
        if name == "stock":
            return [*pox, *listen, *stock_arguments(config)]
        # without a thread of its own for waiting: two threads that wake each other cost more than most messages do
        return [*pox, "--unthreaded-sh", *listen, "lab.engines.pox_balancer", "--config"]

    def _environment(self) -> dict[str, str]:
        root = str(Path(__file__).resolve().parents[2])
        ours = {
            CONFIGURATION: str(self._config_file),
            CONTROL_SOCKET: str(self._control_socket),
            "PYTHONPATH": root,
            "PYTHONUNBUFFERED": "1",
            "EVENTLET_NO_GREENDNS": "yes",  # this and the next: os-ken starts in half the time without what they import
            "SETUPTOOLS_USE_DISTUTILS": "stdlib",
        }
        return {**{k: v for k, v in os.environ.items() if k != "LAB_TOKEN"}, **ours}

    def _running(self) -> subprocess.Popen[bytes] | None:
        process = self._process
        return process if process is not None and process.poll() is None else None

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log_text().splitlines() if line.strip()]
        return " | ".join(lines[-LAST_WORDS:]) or "it said nothing"

    @property
    def _log_file(self) -> Path:
        return self._state / "controller.log"

    @property
    def _config_file(self) -> Path:
        return self._state / "controller.json"

    @property
    def _control_socket(self) -> Path:
        return self._state / "control.sock"


def _check(config: wire.Controller) -> None:
    """Raises ValueError: no engine can be configured so."""
    from lab.engines import configuration  # with the whole balancer, as long as all the rest of a supervisor's start

    configuration.settings(config)


def _memory(pid: int | None) -> dict[str, float | None]:
    """Resident memory of a process and its peak, in MB (10^6 bytes); None where there is none."""
    found: dict[str, float | None] = {"rss_mb": None, "rss_peak_mb": None}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name = {"VmRSS:": "rss_mb", "VmHWM:": "rss_peak_mb"}.get(line.partition("\t")[0])
            if name:
                found[name] = round(int(line.split()[1]) * 1024 / 1e6, 1)
    return found


def _cpu_s(pid: int | None) -> float | None:
    """CPU seconds that a process has used, in user and kernel mode; None where there is none."""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return round((int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"), 3)
    return None


def _is_listening(host: str, port: int) -> bool:
    """Whether a TCP socket listens there, without disturbing it by a connection.

    Who permits sharing may be bound beside whoever does too, but not beside one that listens. /proc/net/tcp would say
    as much, and takes milliseconds of the engine's own start each time: it looks at all of the kernel's sockets."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _os_ken_version() -> str | None:
    try:
        return importlib.metadata.version("os-ken")
    except importlib.metadata.PackageNotFoundError:
        return None


def _pox_version(home: Path | None) -> str | None:
    if home is None:
        return None
    found = re.search(r"^\s*version = \(([\d, ]+)\)", (home / "pox/core.py").read_text(), re.MULTILINE)
    return ".".join(re.findall(r"\d+", found.group(1))) if found else "unknown"
