"""The balancer as a POX component, with the tutorial's own command line:

    ./pox.py lab.engines.pox_balancer --ip=10.0.1.1 --servers=10.0.0.1,10.0.0.2 [--policy=round_robin] [--dpid=1]

The supervisor starts it with `--config` alone, and the configuration comes by environment.
Rule: translate only. Each handler hands the event to the switchboard.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pox.openflow.libopenflow_01 as of
from pox.core import core
from pox.lib.recoco import Timer
from pox.lib.util import str_to_dpid
from pox.openflow import FlowRemoved, PacketIn

from lab import wire
from lab.balancer.policies.plugin import is_plugin, split_name
from lab.engines import configuration, control, openflow, pox_direct
from lab.engines.direct import Direct
from lab.engines.environment import CONTROL_SOCKET
from lab.engines.switchboard import TICK_S, Switchboard

log = core.getLogger("balancer")


class PoxBalancer:
    """Gives the switchboard POX's events."""

    def __init__(self, board: Switchboard) -> None:
        self._board = board
        core.openflow.clear_flows_on_connect = False  # the switchboard knows what a switch must have
        core.openflow.addListeners(self)
        Timer(TICK_S, board.tick, recurring=True)

    def _handle_ConnectionUp(self, event: Any) -> None:
        event.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # POX leaves Nagle's 40 ms in
        connection = event.connection
        if not self._board.connected(event.dpid, openflow.OF10, connection, connection.send):
            connection.disconnect("its dpid is another switch's")
            return
        direct = Direct(self._board, event.dpid, openflow.OF10)
        pox_direct.install(connection, direct, lambda: _others_listen(connection))

    def _handle_ConnectionDown(self, event: Any) -> None:
        self._board.gone(event.dpid, event.connection)

    def _handle_PacketIn(self, event: Any) -> None:
        self._board.packet_in(event.dpid, event.port, event.ofp.reason, event.data)

    def _handle_FlowRemoved(self, event: Any) -> None:
        self._board.flow_removed(event.dpid, event.ofp.cookie, event.ofp.reason)

    def _handle_FlowStatsReceived(self, event: Any) -> None:
        senders = {rule.cookie: sender for rule in event.stats if (sender := _sender(rule.match))}
        self._board.rules_found(event.dpid, [rule.cookie for rule in event.stats], senders)

    def _handle_ErrorIn(self, event: Any) -> None:
        event.should_log = False  # POX would log each, and at length
        self._board.switch_error(event.dpid, event.ofp.type, event.ofp.code, event.ofp.data)

    def _handle_PortStatus(self, event: Any) -> None:
        port = event.ofp.desc
        down = event.deleted or port.config & of.OFPPC_PORT_DOWN or port.state & of.OFPPS_LINK_DOWN
        self._board.port_changed(event.dpid, event.port, not down)


def _others_listen(connection: Any) -> bool:
    """Whether a component beside this one waits for the events that `pox_direct` spares."""
    ours, its = core.openflow._eventMixin_handlers, connection._eventMixin_handlers
    return any(len(ours.get(kind, ())) != 1 or its.get(kind) for kind in (PacketIn, FlowRemoved))


def _sender(match: Any) -> tuple[int, int, int] | None:
    """Whose packets a rule is for: source address, source and destination port. None: not one sender's."""
    if match.nw_src is None or match.tp_src is None or match.tp_dst is None:
        return None
    return match.nw_src.toUnsigned(), match.tp_src, match.tp_dst


def launch(
    ip: str | None = None,
    servers: str | None = None,
    policy: str = "round_robin",
    mode: str = "reactive",
    dpid: str | None = None,
    port: str = "80",
    config: bool = False,
) -> bool | None:
    """Start the component. False, with one logged sentence, when what was asked for can't work."""
    try:
        _check_alone()
        wanted = configuration.read() if config else _from_command_line(ip, servers, policy, mode, dpid, port)
        board = Switchboard(wanted)
    except ValueError as error:
        log.critical("%s", error)
        return False
    if path := os.environ.get(CONTROL_SOCKET):
        control.serve(path, board.operations())
    core.call_when_ready(lambda: core.register("balancer", PoxBalancer(board)), ["openflow"], "balancer")
    return None


def _check_alone() -> None:
    """POX has imported all components of its command line by now. Raises ValueError if one of them forwards as well."""
    others = [name for name in sys.modules if name.startswith(("pox.forwarding.", "pox.misc.ip_loadbalancer"))]
    if others:
        why = "two components that own a switch undo each other's work, and this one switches all traffic"
        raise ValueError(f"leave out {min(others).removeprefix('pox.')}: {why}")


def _from_command_line(
    ip: str | None, servers: str | None, policy: str, mode: str, dpid: str | None, port: str
) -> wire.Controller:
    given: dict[str, object] = {
        "ip": ip,
        "servers": servers,
        "policy": policy,
        "mode": mode,
        "dpid": dpid,
        "port": port,
    }
    for name, value in given.items():
        if value is True:  # POX's way to say that an option was given without a value
            raise ValueError(f"--{name} needs a value: --{name}=…")
    if not ip or not servers:
        raise ValueError("give the service's address and the servers: --ip=10.0.1.1 --servers=10.0.0.1,10.0.0.2")
    if ":" in ip:
        raise ValueError(f"--ip={ip}: OpenFlow 1.0, which POX speaks, can't rewrite IPv6 addresses; use os-ken")
    pool = tuple(wire.Server(name=address, ip=address) for address in servers.replace(",", " ").split())
    if not port.isdigit():
        raise ValueError(f"--port={port}: expected a number from 1 to 65535")
    service = wire.Service(name="web", ip=ip, port=int(port), servers=pool, policy=policy)
    plugins = (_plugin(policy),) if is_plugin(policy) else ()
    return wire.Controller(services=(service,), engine="pox", mode=mode, dpid=_dpid(dpid), plugins=plugins)


def _plugin(policy: str) -> wire.Plugin:
    file, class_name = split_name(policy)
    try:
        source = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--policy={policy}: {error}") from None
    return wire.Plugin(name=policy, file=file, class_name=class_name, source=source)


def _dpid(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(str_to_dpid(text))
    except ValueError:
        raise ValueError(f"--dpid={text}: expected 00-00-00-00-00-01 or a hexadecimal number") from None
