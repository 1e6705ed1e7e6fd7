"""The real engines with a switch that isn't one: connections are balanced and counted, by the direct way."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.driver import pox_supply

ROOT = Path(__file__).resolve().parents[2]
CONNECTIONS = 200
# run in a network namespace, by the Python that has the engines
PLAY = """
import dataclasses, json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1] + "/tools")
from fake_switch import OF10, OF13, FakeSwitch
from lab import wire
from lab.engines.process import Engine

def play(engine, mode, pox, state, count):
    process = Engine(Path(state), Path(pox) if pox else None)
    services = wire.default_controller().services
    service = dataclasses.replace(services[0], policy="least_connections")  # for which ends are shown in every mode
    config = dataclasses.replace(wire.default_controller(), engine=engine, mode=mode, services=(service,))
    process.start(config)
    try:
        version = OF10 if engine == "pox" else OF13
        switch = FakeSwitch(("127.0.0.1", wire.OPENFLOW_PORT), version, mode == "tracked")
        switch.serve_until_probed()
        frames = switch.begin(range(count), 16)
        begun = process.status()
        switch.end(range(count), [1 + n % 2 for n in range(count)])
        ended = process.status()
        return {"frames": len(frames), "errors": switch.errors, "begun": begun["statistics"],
                "ended": ended["statistics"], "log": process.log_text()}
    finally:
        process.stop()

print(json.dumps(play(*sys.argv[2:6], int(sys.argv[6]))))
"""


def play(engine: str, mode: str, state: Path) -> Any:
    pox = str(pox_supply.find_pox().path) if engine == "pox" else ""
    inside = 'ip link set lo up && exec /usr/bin/python3 -c "$@"'
    arguments = [PLAY, str(ROOT), engine, mode, pox, str(state), str(CONNECTIONS)]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-c", inside, "play", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.sandbox
@pytest.mark.parametrize("mode", ["reactive", "tracked"])
@pytest.mark.parametrize("engine", [pytest.param("pox", marks=pytest.mark.pox), "osken"])
def test_connections_come_and_go_by_the_direct_way(engine: str, mode: str, tmp_path: Path) -> None:
    seen = play(engine, mode, tmp_path)
    assert (seen["frames"], seen["errors"]) == (CONNECTIONS, 0)
    begun, ended = seen["begun"], seen["ended"]
    half = CONNECTIONS // 2
    assert [server["hits"] for server in begun["services"]["web"]["servers"].values()] == [half, half]
    assert begun["packet_ins"] == CONNECTIONS
    assert begun["connections"]["live"] == CONNECTIONS
    assert ended["connections"]["live"] == 0
    assert "no hook" not in seen["log"]
    assert "Traceback" not in seen["log"]
