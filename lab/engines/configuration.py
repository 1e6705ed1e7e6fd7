"""From what the driver sends (wire.Controller) to what the balancer takes (balancer.Settings).

Rule: this is the only place that knows both. A ValueError's text is one sentence for whoever wrote the configuration.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

from lab import wire
from lab.balancer.balancer import Balancer
from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.policies.plugin import Plugin
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings
from lab.engines.environment import CONFIGURATION


def read() -> wire.Controller:
    """The configuration named by the environment. Raises ValueError when there is none, or it is wrong."""
    path = os.environ.get(CONFIGURATION)
    if not path:
        raise ValueError(f"no configuration: set {CONFIGURATION} to a file, or start by `lab.engines.supervisor`")
    return wire.decode(wire.Controller, json.loads(Path(path).read_text()))


def build(config: wire.Controller) -> Balancer:
    """A balancer as configured. Raises ValueError."""
    return Balancer(settings(config), random.Random(config.seed))


def settings(config: wire.Controller) -> Settings:
    return Settings(
        services=[_service(service) for service in config.services],
        mode=config.mode,
        stateful=config.stateful,
        idle_timeout=config.idle_timeout_s,
        bound=config.connections.bound,
        on_server_down=config.connections.on_server_down,
        hash_table_size=config.hash_table_size,
        plugins={p.name: Plugin(file=p.file, class_name=p.class_name, source=p.source) for p in config.plugins},
        detail=config.verbose,
    )


def _service(service: wire.Service) -> ServiceSettings:
    try:
        servers = [
            ServerSettings(name=s.name, ip=s.ip, weight=s.weight, health=_health(s.health) if s.health else None)
            for s in service.servers
        ]
        health = _health(service.health)
    except ValueError as error:
        raise ValueError(f"service {service.name!r}: {error}") from None
    return ServiceSettings(
        name=service.name,
        ip=service.ip,
        port=service.port,
        last_port=service.last_port or 0,
        protocol=service.protocol,
        policy=service.policy,
        servers=servers,
        health=health,
    )


def _health(health: wire.Health) -> HealthSettings:
    known = [kind.value for kind in CheckKind]
    if health.kind not in known:
        raise ValueError(f"health check {health.kind!r} isn't known; known: {', '.join(known)}")
    return HealthSettings(
        kind=CheckKind(health.kind),
        interval=health.interval_s,
        timeout=health.timeout_s,
        rise=health.rise,
        fall=health.fall,
        path=health.path,
        status=health.status,
        slow_start=health.slow_start_s,
    )
