"""A host's processes: namespaces of its own from the start, a shell only when it is spoken to, nothing at its end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
# run by the Python that has Mininet, in namespaces that end with it
PLAY = """
import json, os, subprocess
from lab.agent.network import QuickHost

def children():
    listed = subprocess.run(["ps", "-o", "comm=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    return sorted(name for name in listed.stdout.split() if name != "ps")

def spaces(pid):
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt")]

hosts = [QuickHost(name, ip="10.0.0.1/8") for name in ("h1", "h2")]
told = {"ours": spaces("self"), "hosts": [spaces(host.pid) for host in hosts], "before": children()}
pid = hosts[0].pid
told["popen"] = hosts[1].popen(["ls", "/sys/class/net"]).communicate()[0].decode()
told["unspoken"] = children()
told["cmd"] = hosts[0].cmd("ls /sys/class/net").strip()
told["shell"] = spaces(hosts[0].shell.pid)
told["spoken"] = children()
told["same pid"] = hosts[0].pid == pid and hosts[0].inNamespace
for host in hosts:
    host.terminate()
told["after"] = children()
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    spaces = ["--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    done = subprocess.run(
        ["unshare", *spaces, "/usr/bin/python3", "-c", PLAY],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.sandbox
def test_hosts_have_namespaces_of_their_own_from_the_start(told: Any) -> None:
    for kind in (0, 1):
        assert len({told["ours"][kind], *(host[kind] for host in told["hosts"])}) == 3


@pytest.mark.sandbox
def test_shell_starts_when_its_host_is_spoken_to_and_no_sooner(told: Any) -> None:
    for yet in ("before", "unspoken"):
        assert len(told[yet]) == 2
        assert "bash" not in told[yet]
    assert told["spoken"].count("bash") == 1


@pytest.mark.sandbox
def test_what_runs_on_a_host_is_in_its_namespaces_with_a_shell_or_without(told: Any) -> None:
    assert told["popen"].split() == told["cmd"].split() == ["lo"]
    assert told["shell"] == told["hosts"][0]
    assert told["same pid"]


@pytest.mark.sandbox
def test_nothing_of_a_host_outlives_it(told: Any) -> None:
    assert told["after"] == []
