"""The pool's part of the control socket: each operation changes the pool, then tells how the server stands now.

Rule: no decision here; `lab.balancer.operations` refuses what can't be, `carry_out` sends what follows to the switch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.balancer.operations import Operations
from lab.balancer.rules import Command
from lab.balancer.settings import ServerSettings

CarryOut = Callable[[Callable[[], list[Command]]], None]


class PoolControl:
    """`carry_out` calls what it is given under the engine's lock, and does what it returns."""

    def __init__(self, pool: Operations, carry_out: CarryOut) -> None:
        self._pool = pool
        self._carry_out = carry_out

    def operations(self) -> dict[str, Callable[..., Any]]:
        return {
            "pool": self._pool.describe,
            "pool_add": self.add,
            "pool_remove": self.remove,
            "pool_drain": self.drain,
            "pool_enable": self.enable,
            "pool_weight": self.set_weight,
        }

    def add(self, service: str, server: str, ip: str, weight: int = 1) -> dict[str, Any]:
        wanted = ServerSettings(name=server, ip=ip, weight=weight)
        self._carry_out(lambda: self._pool.add(service, wanted))
        return self._pool.describe_server(service, server)

    def remove(self, service: str, server: str) -> dict[str, Any]:
        """Tells how it stood before."""
        before = self._pool.describe_server(service, server)
        self._carry_out(lambda: self._pool.remove(service, server))
        return {**before, "admin": "gone", "available": False}

    def drain(self, service: str, server: str) -> dict[str, Any]:
        self._carry_out(lambda: self._pool.drain(service, server))
        return self._pool.describe_server(service, server)

    def enable(self, service: str, server: str) -> dict[str, Any]:
        self._carry_out(lambda: self._pool.enable(service, server))
        return self._pool.describe_server(service, server)

    def set_weight(self, service: str, server: str, weight: int) -> dict[str, Any]:
        self._carry_out(lambda: self._pool.set_weight(service, server, weight))
        return self._pool.describe_server(service, server)
