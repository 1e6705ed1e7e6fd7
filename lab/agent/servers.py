"""The web servers on the hosts: start them all at once, wait until they listen, read and empty their hit logs.

A server is up when it says so itself: the small one in its output, nginx through its private socket. So nothing else
that listens on its port is taken for it, and no probe appears among the hits.
Rule: a server that can't start is a sentence with its own last words.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lab import wire
from lab.agent import nginx
from lab.agent.namespaces import Place
from lab.agent.privileges import LISTEN, as_nobody, give
from lab.agent.refusal import Refusal
from lab.agent.web_server import UP

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("web_server.py")
UDP_SCRIPT = Path(__file__).with_name("udp_server.py")
POLL_S = 0.005
START_S = 10.0
log = logging.getLogger("lab.agent")


class Running:
    """One server, started."""

    def __init__(self, server: wire.HttpServer, place: Place, state: Path) -> None:
        self.server = server
        self._place = place
        self.name = f"{server.host}-{'udp-' * (server.protocol == 'udp')}{server.port}"
        self._home = state / "servers" / self.name
        self._home.mkdir(parents=True, exist_ok=True)
        self.hits = state / "hits" / f"{self.name}.ndjson"
        self.hits.write_bytes(b"")
        give(self.hits)
        self._words = self._home / "output"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._words.open("wb") as output:
            return self._place.popen(
                [*as_nobody(keep=LISTEN), *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def start_again(self) -> None:
        """After `stop`; what it logs follows what it has logged. One that runs is left alone."""
        if self.process.poll() is not None:
            self.process = self._start()
            self.wait_listening(time.monotonic() + START_S)

    def _command(self) -> list[str]:
        server = self.server
        if self.is_nginx:
            return nginx.prepare(server, self._home, self.hits)
        original = UDP_SCRIPT if server.protocol == "udp" else SCRIPT
        script = self._home / original.name  # a copy: the kit's folder may be closed to others, as by a umask of 077
        script.write_bytes(original.read_bytes())
        ports, figures = f"{server.port}-{server.ports[-1]}", (str(server.response_bytes), str(server.delay_ms))
        return [PYTHON, "-I", "-S", str(script), server.host, ports, *figures, str(self.hits)]

    @property
    def is_nginx(self) -> bool:
        return self.server.kind == "nginx" and self.server.protocol == "tcp"

    def _is_up(self) -> bool:
        if not self.is_nginx:
            return self._words.read_bytes().startswith(UP)
        try:
            nginx.settle(self._home)
        except OSError:
            return False
        return True

    @property
    def configuration(self) -> str:
        """nginx's."""
        return (self._home / "nginx.conf").read_text()

    def wait_listening(self, deadline: float) -> None:
        while not self._is_up():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                why = f"ended with exit code {code}" if code is not None else f"didn't listen within {START_S:g} s"
                raise Refusal(500, f"the {self.server.kind} server on {self.name} {why}: {self._last_words()}")
            time.sleep(POLL_S)

    def _last_words(self) -> str:
        text = self._words.read_text(errors="replace").strip()
        return text.splitlines()[-1][:300] if text else "it said nothing"

    def read_hits(self) -> list[wire.Hit]:
        if self.is_nginx:
            with suppress(OSError):  # a dead server's log is complete
                nginx.settle(self._home)
        lines = self.hits.read_text(errors="replace").splitlines()
        return [wire.decode(wire.Hit, json.loads(line)) for line in lines if line]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Servers:
    """All servers of a network."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._running: list[Running] = []
        (state / "hits").mkdir(parents=True, exist_ok=True)

    def start(self, servers: Sequence[wire.HttpServer], places: Mapping[str, Place]) -> None:
        """Start all; they come up while the caller goes on."""
        for server in servers:
            self._running.append(Running(server, places[server.host], self._state))

    def wait_listening(self) -> None:
        deadline = time.monotonic() + START_S
        for running in self._running:
            running.wait_listening(deadline)
            server = running.server
            what = "HTTP" if server.protocol == "tcp" else "UDP"
            log.info("%s serves %s on ports %d-%d (%s)", server.host, what, server.port, server.ports[-1], server.kind)

    def hits(self) -> dict[str, list[wire.Hit]]:
        """Each server host's hits, in order of time where it has several servers."""
        found: dict[str, list[wire.Hit]] = {}
        for running in self._running:
            found.setdefault(running.server.host, []).extend(running.read_hits())
        for hits in found.values():
            hits.sort(key=lambda hit: hit.time)
        return found

    def empty_hits(self) -> None:
        """Servers append, so an emptied log simply goes on."""
        for running in self._running:
            running.read_hits()  # nginx: what is still to be written belongs to the past
            with running.hits.open("wb"):
                pass

    def configurations(self) -> dict[str, str]:
        """Host and port → the configuration of an nginx there."""
        return {r.name: r.configuration for r in self._running if r.is_nginx}

    def stop_on(self, host: str) -> None:
        """Kill the servers of a host, with all their connections; the host is still there."""
        for running in self._of(host):
            running.stop()

    def start_on(self, host: str) -> None:
        for running in self._of(host):
            running.start_again()

    def _of(self, host: str) -> list[Running]:
        found = [running for running in self._running if running.server.host == host]
        if not found:
            raise Refusal(400, f"no web server was started on {host!r:.40}")
        return found

    def stop(self) -> None:
        for running in self._running:
            running.stop()
        self._running.clear()
