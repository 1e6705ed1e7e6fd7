"""SYN floods: the command line of the program that sends one, and what it says at its end.

It runs on a host like any command, so it ends with its time-out, its reader, or its network.
Rule: what is sent is bounded before it begins; `checks.check_flood` has seen it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lab import wire
from lab.agent.refusal import Refusal

PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("flood_sender.py")


def command(flood: wire.Flood, address: str, taken: Iterable[str]) -> list[str]:
    """address: the sending host's, with prefix length; taken: addresses that no SYN may come from."""
    figures = (f"{flood.host}-eth0", address, flood.ip, flood.port, flood.syns, flood.seconds, int(flood.spoofed))
    return [PYTHON, "-I", "-S", str(SCRIPT), *map(str, figures), ",".join(taken)]


def outcome(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the program did, from its exit code and words. Raises Refusal(500) with its last line."""
    if result["exit_code"] != 0:
        words = str(result["stderr"]).strip().splitlines()
        raise Refusal(500, f"the flood could not be sent: {words[-1][:300] if words else 'it was killed'}")
    return dict(json.loads(result["stdout"]))
