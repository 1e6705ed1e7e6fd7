"""The balancer as an os-ken app: `osken-manager lab.engines.osken_balancer`, configured by environment.

It speaks OpenFlow 1.3, and 1.5 where the switch chooses by groups.
Rule: translate only. Each handler finds the switch's number and hands the event to the switchboard.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
from typing import Any

from os_ken.base import app_manager
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.lib import hub
from os_ken.ofproto import ofproto_parser, ofproto_v1_3, ofproto_v1_3_parser, ofproto_v1_5

from lab.engines import configuration, control, openflow
from lab.engines.direct import Direct
from lab.engines.environment import CONTROL_SOCKET
from lab.engines.osken_direct import DirectSocket
from lab.engines.switchboard import TICK_S, Switchboard

SPARED = (ofp_event.EventOFPPacketIn, ofp_event.EventOFPFlowRemoved)  # events that `osken_direct` makes needless


def _version() -> int:
    """Of OpenFlow: 1.5 where the switch chooses, since 1.3 can't say how a group hashes."""
    try:
        mode = configuration.read().mode
    except ValueError:
        mode = ""  # it is told of when the app starts
    return int(ofproto_v1_5.OFP_VERSION if mode == "proactive" else ofproto_v1_3.OFP_VERSION)


class OsKenBalancer(app_manager.OSKenApp):
    OFP_VERSIONS = [_version()]  # noqa: RUF012  os-ken reads it off the class

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._found: dict[int, list[Any]] = {}  # by dpid: rules of an answer in several parts
        try:
            self._board = Switchboard(configuration.read())
        except ValueError as error:
            logging.getLogger("balancer").critical("%s", error)
            sys.exit(2)
        if path := os.environ.get(CONTROL_SOCKET):
            control.serve(path, self._board.operations())
        ofproto_parser.register_msg_parser(ofproto_v1_3.OFP_VERSION)(self._parse)

    def start(self) -> None:
        super().start()
        self._source = app_manager.lookup_service_brick("ofp_event")
        self.threads.append(hub.spawn(self._tick))

    def _tick(self) -> None:
        while True:
            hub.sleep(TICK_S)
            self._board.tick()

    def _parse(self, datapath: Any, version: int, kind: int, *rest: Any) -> Any:
        """os-ken's parser, called as it reads a message: the one moment at which it has nothing half read."""
        if kind == ofproto_v1_3.OFPT_FEATURES_REPLY and not isinstance(datapath.socket, DirectSocket):
            datapath.socket = DirectSocket(datapath.socket, self._idle, lambda: hub.sleep(0))
        return ofproto_v1_3_parser.msg_parser(datapath, version, kind, *rest)

    def _idle(self) -> bool:
        """No event waits for this app, and no other app listens for those that are spared."""
        observers = getattr(self._source, "observers", {})
        return self.events.empty() and all(len(observers.get(kind, ())) == 1 for kind in SPARED)

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def _state(self, event: Any) -> None:
        datapath = event.datapath
        if event.state == MAIN_DISPATCHER:
            direct = datapath.socket if isinstance(datapath.socket, DirectSocket) else None
            send = datapath.send if direct is None else direct.post
            version = datapath.ofproto.OFP_VERSION
            if not self._board.connected(datapath.id, version, datapath, send):
                datapath.close()
            elif direct is not None:
                direct.direct = Direct(self._board, datapath.id, version)
            elif version == openflow.OF13:  # in 1.5 no connection costs a packet-in, so there is nothing to spare
                self.logger.info("this os-ken has no hook for packet-ins: its events serve as well, but cost more")
        elif datapath.id is not None:
            self._board.gone(datapath.id, datapath)

    @set_ev_cls(ofp_event.EventOFPPacketIn, MAIN_DISPATCHER)
    def _packet_in(self, event: Any) -> None:
        message = event.msg
        self._board.packet_in(message.datapath.id, message.match["in_port"], message.reason, message.data)

    @set_ev_cls(ofp_event.EventOFPFlowRemoved, MAIN_DISPATCHER)
    def _flow_removed(self, event: Any) -> None:
        message = event.msg
        self._board.flow_removed(message.datapath.id, message.cookie, message.reason)

    @set_ev_cls([ofp_event.EventOFPFlowStatsReply, ofp_event.EventOFPFlowDescStatsReply], MAIN_DISPATCHER)  # 1.3, 1.5
    def _flow_stats(self, event: Any) -> None:
        message = event.msg
        found = self._found.setdefault(message.datapath.id, [])
        found += message.body
        if not message.flags & message.datapath.ofproto.OFPMPF_REPLY_MORE:
            del self._found[message.datapath.id]
            senders = {rule.cookie: sender for rule in found if (sender := _sender(rule.match))}
            self._board.rules_found(message.datapath.id, [rule.cookie for rule in found], senders)

    @set_ev_cls(ofp_event.EventOFPErrorMsg, MAIN_DISPATCHER)
    def _error(self, event: Any) -> None:
        message = event.msg
        kind, code, data = message.type, message.code, message.data or b""
        if kind == message.datapath.ofproto.OFPET_EXPERIMENTER:  # os-ken has parsed what stands in front of the data
            code, data = message.exp_type, message.experimenter.to_bytes(4, "big")
        self._board.switch_error(message.datapath.id, kind, code, data)

    @set_ev_cls(ofp_event.EventOFPPortStatus, MAIN_DISPATCHER)
    def _port_status(self, event: Any) -> None:
        message = event.msg
        ofproto = message.datapath.ofproto
        down = message.desc.state & ofproto.OFPPS_LINK_DOWN or message.desc.config & ofproto.OFPPC_PORT_DOWN
        up = message.reason != ofproto.OFPPR_DELETE and not down
        self._board.port_changed(message.datapath.id, message.desc.port_no, up)


def _sender(match: Any) -> tuple[int, int, int] | None:
    """Whose packets a rule is for: source address, source and destination port. None: not one sender's."""
    address = match.get("ipv4_src") or match.get("ipv6_src")
    for protocol in ("tcp", "udp"):
        source, target = match.get(f"{protocol}_src"), match.get(f"{protocol}_dst")
        if isinstance(address, str) and isinstance(source, int) and isinstance(target, int):
            return int(ipaddress.ip_address(address)), source, target
    return None
