"""The lab in containers: compose.yaml as a Compose project of its own for each lab.

Bring-up is one Compose command, images being there; all else asks the engine by the docker SDK. The one rule: whatever
way `up` fails, Ctrl-C included, the project is removed before the error goes on.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab import wire
from lab.driver.backends import engine, images, projects, registry
from lab.driver.backends.base import Missing
from lab.driver.backends.compose_command import Compose
from lab.driver.backends.port import fixed_port
from lab.driver.backends.registry import Entry
from lab.driver.errors import LabError, LeftBehind

if TYPE_CHECKING:
    import docker

SERVICES: Final = {"agent.log": "mininet", "controller.log": "controller"}  # whose output each log is
PAUSE_S: Final = 0.02  # between questions to an agent that doesn't answer yet
TAIL_LINES: Final = 5


class ComposeLab:
    """A lab in containers. kept: `down` also takes it out of the registry."""

    backend = "compose"

    def __init__(self, client: docker.DockerClient, project: str, name: str, url: str, token: str, kept: bool) -> None:
        self.name, self.url, self.token = name, url, token
        self.client, self.project, self.kept = client, project, kept
        self._texts: dict[str, str] | None = None  # the logs, as last read before the end
        self._gone = False

    def alive(self) -> bool:
        """A question to the engine, some 5 ms."""
        with _engine_errors():
            return not self._gone and all(state == "running" for state, _ in self._states().values())

    def why_dead(self) -> str:
        with _engine_errors():
            ended = {name: status for name, (state, status) in self._states().items() if state != "running"}
        if not ended:
            return ""
        name, status = next(iter(ended.items()))
        log = next(log for log, service in SERVICES.items() if service == name)
        return f"the container {name} is no longer running ({status}): {tail(self.logs()[log]) or 'it said nothing'}"

    def logs(self) -> dict[str, str]:
        if self._texts is not None:
            return dict(self._texts)
        with _engine_errors():
            containers = self._containers()
            texts = {name: self.client.api.logs(found["Id"]) for name, found in containers.items()}
        return {log: texts.get(name, b"").decode(errors="replace") for log, name in SERVICES.items()}

    def down(self) -> None:
        if not self._gone:
            with contextlib.suppress(LabError):
                self._texts = self.logs()
            self._remove()
            self._gone = True
            self.client.close()
        if self.kept:
            registry.remove(self.name)

    def _remove(self) -> None:
        try:
            with _engine_errors():
                projects.remove(self.client, self.project)
        except LeftBehind:
            raise
        except LabError as error:
            command = projects.removal(self.project)
            raise LeftBehind(f"containers of {self.project} may be left ({error}): {command}") from None

    def find_url(self) -> str:
        """Where the agent's port is published."""
        for port in self._containers().get("mininet", {}).get("Ports", ()):
            if port["PrivatePort"] == wire.AGENT_PORT and "PublicPort" in port:
                return f"http://127.0.0.1:{port['PublicPort']}"
        raise LabError(f"the lab's agent has no port on this machine: {self.why_dead() or 'none was published'}")

    def _states(self) -> dict[str, tuple[str, str]]:
        found = self._containers()
        gone: dict[str, Any] = {"State": "gone", "Status": "removed"}
        return {name: (c["State"], c["Status"]) for name in SERVICES.values() for c in [found.get(name, gone)]}

    def _containers(self) -> dict[str, Any]:
        filters = {"label": f"{projects.PROJECT}={self.project}"}
        containers = self.client.api.containers(all=True, filters=filters)
        return {container["Labels"]["com.docker.compose.service"]: container for container in containers}


class ComposeBackend:
    """Labs in containers. say: told what takes long. timeout_s: for agent and supervisor to answer."""

    name = "compose"

    def __init__(
        self,
        *,
        environ: Mapping[str, str] = os.environ,
        say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
        timeout_s: float = 20.0,
    ) -> None:
        self._environ = environ
        self._say = say
        self._timeout_s = timeout_s

    def missing(self) -> list[Missing]:
        return [gap for gap in (engine.missing_engine(), engine.missing_compose()) if gap]

    def prepare(self, pox: Path | None) -> None:
        """Build the images where they are missing."""
        words = engine.compose_command()
        if not words:
            return  # `up` says what is missing
        with _engine_errors(), contextlib.closing(engine.client()) as client:
            images.ensure(client, Compose(words, images.ROOT, _project("images", False)), pox, self._say)

    def attach(self, entry: Entry) -> ComposeLab:
        with _engine_errors():
            client = engine.client()
        return ComposeLab(client, _project(entry.name, True), entry.name, entry.url, entry.token, kept=True)

    def sweep(self) -> list[str]:
        """Remove labs whose driver was killed, and kept ones that have lost their entry. No engine: nothing to do."""
        if engine.missing_engine():
            return []
        known = {_project(entry.name, True) for entry in registry.entries()}
        with _engine_errors(), contextlib.closing(engine.client()) as client:
            return projects.sweep(client, but=known)

    def up(self, name: str, pox: Path | None, keep: bool) -> ComposeLab:
        port = str(fixed_port(self._environ))
        if not keep:
            return self._up(name, pox, port, keep=False)
        entry = registry.claim(name, self.name)
        try:
            lab = self._up(name, pox, port, keep=True)
            registry.save(replace(entry, url=lab.url, token=lab.token, pid=None, identity=None))
        except BaseException:
            registry.remove(name)
            raise
        lab.kept = True
        return lab

    def _up(self, name: str, pox: Path | None, port: str, keep: bool) -> ComposeLab:
        words = engine.compose_command()
        if not words:
            raise LabError("; ".join(f"{gap.what}: {gap.mend}" for gap in self.missing()))
        project = _project(name, keep)
        compose = Compose(words, images.ROOT, project)
        with _engine_errors():
            client = engine.client()
        lab = ComposeLab(client, project, name, "", secrets.token_urlsafe(24), kept=False)
        try:
            self._start(compose, lab, pox, port, keep)
        except BaseException as error:
            try:
                lab.down()
            except LeftBehind as left:
                raise LeftBehind(f"{error or type(error).__name__}; {left}") from error
            raise
        return lab

    def _start(self, compose: Compose, lab: ComposeLab, pox: Path | None, port: str, keep: bool) -> None:
        with _engine_errors():
            projects.sweep(lab.client)
            if keep:
                projects.remove(lab.client, lab.project)  # left by a registry that was lost: the name is ours now
            tag = images.ensure(lab.client, compose, pox, self._say)
            result = compose.run(
                *("up", "--detach", "--no-build"),
                **{"LAB_TAG": tag, "LAB_TOKEN": lab.token, "LAB_AUTOSTART": "0", "LAB_PORT": port},
                **{"LAB_OWNER": projects.owner(keep)},
            )
            if result.returncode:
                raise LabError(explain_failed_start(result.stdout))
            lab.url = lab.find_url()
        self._wait_until_ready(lab)

    def _wait_until_ready(self, lab: ComposeLab) -> None:
        """Ask until agent and, through it, supervisor answer."""
        deadline = time.monotonic() + self._timeout_s
        for path, who in (("/health", "agent"), ("/controller", "supervisor")):
            while (status := _ask(lab, path)) != http.HTTPStatus.OK:
                if not lab.alive():
                    raise LabError(f"the lab ended while it started: {lab.why_dead()}")
                if time.monotonic() > deadline:
                    said = f"HTTP status {status}" if status else "no answer"
                    last = " | ".join(tail(text) for text in lab.logs().values() if text) or "nothing"
                    raise LabError(
                        f"the lab's {who} isn't ready after {self._timeout_s:g} s ({said}); it logged {last}"
                    )
                time.sleep(PAUSE_S)


def explain_failed_start(output: str) -> str:
    """One sentence on why Compose could not start the containers."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    last = lines[-1] if lines else "Compose said nothing"
    if "port is already allocated" in output or "address already in use" in output:
        return f"LAB_PORT can't be used, something listens there: set another, or unset it for any free port ({last})"
    if "/dev/net/tun" in output:
        return f"the engine's machine has no /dev/net/tun: sudo modprobe tun ({last})"
    if "non-overlapping IPv4 address pool" in output or "fully subnetted" in output:
        return f"the engine has no address range left for a network: docker network prune ({last})"
    return f"the containers can't be started: {last}"


def tail(log: str) -> str:
    return " / ".join(line.strip() for line in log.splitlines()[-TAIL_LINES:])


def _project(name: str, keep: bool) -> str:
    """Compose's own rule for names is narrower than ours. Kept labs are found again by it; runs never collide."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower())
    return f"{projects.PREFIX}{plain}-{os.geteuid() if keep else secrets.token_hex(4)}"


def _ask(lab: ComposeLab, path: str) -> int | None:
    """HTTP status of a GET; None: no answer (the engine's proxy accepts before the agent listens)."""
    connection = http.client.HTTPConnection(lab.url.removeprefix("http://"), timeout=5.0)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {lab.token}"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@contextlib.contextmanager
def _engine_errors() -> Iterator[None]:
    """What the SDK raises, as one sentence."""
    import docker.errors
    import requests

    try:
        yield
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise LabError(f"the Docker engine failed: {str(error).splitlines()[0]}") from None
