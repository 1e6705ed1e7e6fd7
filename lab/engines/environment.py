"""What the supervisor tells an engine by its environment. Rule: names alone, since every supervisor imports it."""

from __future__ import annotations

CONFIGURATION = "LAB_CONTROLLER_CONFIG"  # path of a wire.Controller as JSON
CONTROL_SOCKET = "LAB_CONTROL_SOCKET"  # path of the control socket to serve
