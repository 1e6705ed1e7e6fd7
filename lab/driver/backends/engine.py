"""The Docker engine and the Compose command of this machine: where they are, and whether they answer.

Without the docker SDK and without a process of its own where that can be had, because `missing` is asked in each run.
The one rule: nothing here starts or changes anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.driver.backends.base import Missing

if TYPE_CHECKING:
    import docker

_DEFAULT = "unix:///var/run/docker.sock"
_PLUGIN_FOLDERS = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)


def endpoint() -> str:
    """Where the engine listens, as the docker command finds it: DOCKER_HOST, the context chosen, the usual socket."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    name = os.environ.get("DOCKER_CONTEXT") or str(_config().get("currentContext") or "default")
    if name == "default":
        return _DEFAULT
    meta = _config_folder() / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    try:
        return str(json.loads(meta.read_text())["Endpoints"]["docker"]["Host"])
    except (OSError, ValueError, LookupError, TypeError):
        return _DEFAULT


def client() -> docker.DockerClient:
    """The SDK's client of that engine."""
    import docker

    if os.environ.get("DOCKER_HOST"):
        return docker.from_env(timeout=60)  # it knows the TLS variables too
    return docker.DockerClient(base_url=endpoint(), timeout=60)


def missing_engine() -> Missing | None:
    """Why no engine answers, or None. A socket is asked directly: a millisecond."""
    where = endpoint()
    try:
        _ping(where)
    except FileNotFoundError:
        return Missing(what=f"no Docker engine runs ({where} is not there)", mend=_start_command())
    except PermissionError:
        mend = "sudo usermod -aG docker $USER, then log in anew"
        return Missing(what=f"this user may not use the Docker engine ({where})", mend=mend)
    except Exception as error:  # the SDK raises classes of many libraries, and each means: it doesn't answer
        return Missing(what=f"the Docker engine at {where} does not answer ({_cause(error)})", mend=_start_command())
    return None


def compose_command() -> list[str] | None:
    """The words that start Compose v2: the docker command's plug-in, or a docker-compose of version 2 or later."""
    if shutil.which("docker") and any((folder / "docker-compose").exists() for folder in _plugin_folders()):
        return ["docker", "compose"]
    alone = shutil.which("docker-compose")
    return [alone] if alone and _is_v2(alone) else None


def missing_compose() -> Missing | None:
    if compose_command():
        return None
    if shutil.which("docker-compose"):
        what = "the docker-compose here is version 1, and Compose v2 is needed"
    else:
        what = "Compose v2 is not installed"
    return Missing(what=what, mend="sudo apt-get install docker-compose-v2 (Ubuntu) or docker-compose-plugin (Docker)")


def _ping(where: str) -> None:
    kind, _, address = where.partition("://")
    if kind != "unix":
        client().ping()
        return
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(3.0)
        sock.connect(address)
        sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        if answer.status != 200:
            raise OSError(f"it answers {answer.status}")


def _cause(error: BaseException) -> str:
    """What is at the bottom of it; the libraries in between wrap it in their own words, each in a longer sentence."""
    while error.__context__ is not None:
        error = error.__context__
    return str(getattr(error, "strerror", None) or error)


def _is_v2(command: str) -> bool:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        result = subprocess.run([command, "version", "--short"], capture_output=True, text=True, timeout=10)
        return int(result.stdout.strip().lstrip("v").partition(".")[0] or 0) >= 2
    return False


def _start_command() -> str:
    if shutil.which("dockerd"):
        return "sudo systemctl start docker, or, where there is no systemd: sudo dockerd &"
    return "sudo apt-get install --no-install-recommends docker.io, or Docker Desktop: start it"


def _plugin_folders() -> Iterator[Path]:
    yield _config_folder() / "cli-plugins"
    yield from (Path(folder) for folder in _config().get("cliPluginsExtraDirs") or ())
    yield from (Path(folder) for folder in _PLUGIN_FOLDERS)


def _config() -> dict[str, Any]:
    try:
        data = json.loads((_config_folder() / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
