"""Our component started by hand, by real POX: what can't work is refused with a sentence, and nothing stays running."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from lab.driver import pox_supply

pytestmark = pytest.mark.pox
ROOT = Path(__file__).resolve().parents[2]
BALANCER = "lab.engines.pox_balancer"
TUTORIAL = ["--ip=10.0.1.1", "--servers=10.0.0.1,10.0.0.2"]


def refused(tmp_path: Path, *words: str) -> str:
    """What POX says before it ends by itself."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    home = pox_supply.find_pox().path
    listen = ["openflow.of_01", "--address=127.0.0.1", f"--port={port}"]
    ended = subprocess.run(
        ["/usr/bin/python3", f"{home}/pox.py", *listen, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20, cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert "Traceback" not in ended.stdout
    return ended.stdout


def test_d07_no_servers_is_refused_at_the_start(tmp_path: Path) -> None:
    """IndexError when the switch connects, and the controller stays, useless."""
    assert "give the service's address and the servers" in refused(tmp_path, BALANCER, "--ip=10.0.1.1", "--servers=")


def test_d14_service_address_of_a_server_is_refused_at_the_start(tmp_path: Path) -> None:
    """It is accepted, and that server is never up."""
    said = refused(tmp_path, BALANCER, "--ip=10.0.0.2", "--servers=10.0.0.1,10.0.0.2")
    assert "10.0.0.2 is both a service's address and a server's; give the service its own" in said


@pytest.mark.parametrize("other", ["forwarding.l2_learning", "misc.ip_loadbalancer"])
def test_d19_switch_has_one_owner(tmp_path: Path, other: str) -> None:
    """Beside l2_learning, each undoes the other's rules: 8 of 20 requests fail."""
    words = [other, *(TUTORIAL if "balancer" in other else [])]
    assert f"leave out {other}: two components that own a switch" in refused(tmp_path, *words, BALANCER, *TUTORIAL)
    assert f"leave out {other}: two components that own a switch" in refused(tmp_path, BALANCER, *TUTORIAL, *words)
