"""Compose projects on the engine: whose they are, and how all of one is removed.

Each container, network and volume carries the label balance-lab.owner: `run PID NAMESPACE BOOT/START` of a driver that
must be alive, or `kept UID REGISTRY`; empty for a lab that a person started with Compose. The one rule: only what
carries an owner is ever removed, and a living driver's lab never by another.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from lab.driver.backends import registry
from lab.driver.backends.processes import identity
from lab.driver.errors import LeftBehind

if TYPE_CHECKING:
    import docker

PROJECT: Final = "com.docker.compose.project"
OWNER: Final = "balance-lab.owner"
PREFIX: Final = "balance-lab-"
_GONE_S: Final = 15.0


def owner(keep: bool) -> str:
    """The label's value for a lab of this process."""
    if keep:
        return f"kept {os.geteuid()} {registry.folder()}"
    return f"run {os.getpid()} {_pid_namespace()} {identity(os.getpid())}"


def is_orphan(label: str) -> bool:
    """Whether it was a run's whose driver is gone. A driver that can't be seen from here counts as alive."""
    kind, _, rest = label.partition(" ")
    fields = rest.split()
    if kind != "run" or len(fields) != 3:
        return False
    pid, namespace, who = fields
    boot = (identity(os.getpid()) or "").partition("/")[0]
    if namespace != _pid_namespace() or who.partition("/")[0] != boot:
        return False
    return identity(int(pid)) != who


def sweep(client: docker.DockerClient, *, but: Collection[str] | None = None) -> list[str]:
    """Remove orphaned labs; where `but` is given, also those kept by this registry except for these projects.

    Gives the projects' names."""
    mine = "" if but is None else owner(keep=True)
    lost = {project for project, label in _owned(client) if label and label == mine} - set(but or ())
    doomed = lost | {project for project, label in _owned(client) if is_orphan(label)}
    for project in sorted(doomed):
        remove(client, project)
    return sorted(doomed)


def remove(client: docker.DockerClient, project: str) -> None:
    """Containers, networks and volumes of a project. Asks until nothing is listed: a Compose command that was killed
    may have left the engine with work to finish. Raises LeftBehind when something stays."""
    deadline = time.monotonic() + _GONE_S
    while left := _remove_listed(client.api, {"label": f"{PROJECT}={project}"}):
        if time.monotonic() > deadline:
            raise LeftBehind(f"{', '.join(left)} can't be removed: {removal(project)}")
        time.sleep(0.05)


def removal(project: str) -> str:
    """The command that removes all of a project."""
    return f"docker compose --project-name {project} down --volumes"


def _remove_listed(api: Any, filters: dict[str, str]) -> list[str]:
    """One pass; gives what there was, by name. The order matters: a container holds its networks and volumes."""
    containers = api.containers(all=True, filters=filters)
    networks = api.networks(filters=filters)
    volumes = api.volumes(filters=filters)["Volumes"] or []
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lambda container: _try(api.remove_container, container["Id"], v=True, force=True), containers))
        list(pool.map(lambda network: _try(api.remove_network, network["Id"]), networks))
        list(pool.map(lambda volume: _try(api.remove_volume, volume["Name"], force=True), volumes))
    names = [f"the container {(container['Names'] or [container['Id']])[0].lstrip('/')}" for container in containers]
    names += [f"the network {network['Name']}" for network in networks]
    return names + [f"the volume {volume['Name']}" for volume in volumes]


def _try(call: Any, *args: Any, **kwargs: Any) -> None:
    """What is gone already or still busy shows at the next listing."""
    import docker.errors

    with contextlib.suppress(docker.errors.APIError):
        call(*args, **kwargs)


def _owned(client: docker.DockerClient) -> Iterator[tuple[str, str]]:
    """Project and owner of everything that carries our label."""
    api = client.api
    things = [*api.containers(all=True, filters={"label": OWNER}), *api.networks(filters={"label": OWNER})]
    for thing in things:
        labels = thing.get("Labels") or {}
        project = labels.get(PROJECT, "")
        if project.startswith(PREFIX):
            yield project, labels[OWNER]


def _pid_namespace() -> str:
    return str(os.stat("/proc/self/ns/pid").st_ino)
