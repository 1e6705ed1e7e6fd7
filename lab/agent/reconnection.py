"""Keeps switches trying: a switch that has lost its controller looks for it once a second, however long it is gone.

Open vSwitch waits 1, 2, 4, then 8 s between attempts; 3.1 takes `max_backoff` and doesn't keep to it. A controller that
is back would be found up to 8 s later, and the lab would measure that. A target in its other spelling (port 06633 for
6633) is another controller to it, so it tries at once, and as it is never without one, it keeps its rules.
Rule: a connected switch is never touched, nor one that somebody has pointed at another controller.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from lab.agent.openvswitch import OpenVSwitch
from lab.agent.refusal import Refusal

EVERY_S = 1.0
log = logging.getLogger("lab.agent")


class Reconnection:
    """From its making until `stop`, a thread that looks after `switches`."""

    def __init__(self, ovs: OpenVSwitch, switches: Sequence[str], target: str) -> None:
        self._ovs = ovs
        self._switches = switches
        self._spelled = {target: other_spelling(target), other_spelling(target): target}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reconnection", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                self.look()
            except Refusal as refusal:  # the switches are being restarted: the next look will do
                log.info("no look at the switches' connections: %s", refusal)

    def look(self) -> None:
        """Make every switch that is alone try at once."""
        alone = [switch for switch, fine in self._ovs.connected(self._switches).items() if not fine]
        if not alone:
            return
        now = self._ovs.targets(alone)
        again = {switch: self._spelled[target] for switch, target in now.items() if target in self._spelled}
        if again:
            self._ovs.set_controllers(again)


def other_spelling(target: str) -> str:
    """The same address and port in other letters: tcp:127.0.0.1:6633 as tcp:127.0.0.1:06633."""
    address, _, port = target.rpartition(":")
    return f"{address}:0{port}"
