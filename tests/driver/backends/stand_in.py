"""Stand-ins for agent and supervisor, small enough to show what the sandbox does, and a driver to end in all ways.

Used by test_sandbox.py. The agent leaves traces of each kind that a lab could leave: files in /tmp and /run, links, a
process that has left its parent. `driver()` runs this file as a program of its own, to be interrupted or killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

AGENT = """
import http.server, json, os, signal, socket, subprocess, sys, time
mark = sys.argv[1]
open(f"/tmp/{mark}", "w").close()
open(f"/run/{mark}", "w").close()
subprocess.run(["ip", "link", "add", mark + "a", "type", "veth", "peer", "name", mark + "b"], check=True)
subprocess.Popen(["sh", "-c", "sleep 1000 & exit 0", mark], start_new_session=True).wait()

def stop(*_):
    print("agent stops", time.monotonic(), flush=True)
    os._exit(0)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/health" or self.headers["Authorization"] == "Bearer " + os.environ["LAB_TOKEN"]
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.facts()).encode())

    def log_message(self, *args):
        pass

class Server(http.server.HTTPServer):
    def facts(self):
        zombies = [p for p in os.listdir("/proc") if p.isdigit() and ") Z" in open(f"/proc/{p}/stat").read()]
        return {"tmp": os.listdir("/tmp"), "run": os.listdir("/run"), "kit": sorted(os.listdir("/run/lab/kit/lab")),
                "links": [name for _, name in socket.if_nameindex()], "env": dict(os.environ), "zombies": zombies,
                "pox": os.path.isdir("/run/lab/pox") and os.listdir("/run/lab/pox"), "uid": os.getuid(),
                "sysctl_writable": os.access("/proc/sys/fs/file-max", os.W_OK),
                "net_writable": os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK)}

signal.signal(signal.SIGTERM, stop)
server = Server(("127.0.0.1", 0), Handler, False)
server.socket.close()
server.socket = socket.socket(fileno=int(os.environ["LAB_LISTEN_FD"]))
print("agent serves", flush=True)
server.serve_forever()
"""

SUPERVISOR = """
import signal, sys, time
def stop(*_):
    print("supervisor stops", time.monotonic(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
while True:
    signal.pause()
"""

PYTHON = "/usr/bin/python3"
SPACES = ("net", "mnt", "pid", "ipc")


def facts(url: str) -> dict[str, Any]:
    """What the agent sees from inside."""
    with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
        return dict(json.load(answer))


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s until {what}"
        time.sleep(0.01)


def processes(mark: str) -> list[int]:
    """Ids of the processes with `mark` in their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def spaces_of(pid: int) -> set[str]:
    """The numbers of a process's namespaces."""
    return {os.readlink(f"/proc/{pid}/ns/{space}").strip(f"{space}:[]") for space in SPACES}


def spaces_in_use() -> set[str]:
    """The numbers of all namespaces that any process is in. lsns fails when a process ends while it reads."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has just ended
            for kind in os.listdir(f"/proc/{process}/ns"):
                found.add(os.readlink(f"/proc/{process}/ns/{kind}").partition("[")[2].rstrip("]"))
    return found


@contextlib.contextmanager
def driver(
    mark: str, how: str, root: Path, env: dict[str, str], *before: str, program: Path | str = __file__
) -> Iterator[subprocess.Popen[str]]:
    """This file (or its copy) as a driver whose lab's processes carry `mark`; `how` is one of ENDINGS.

    root: where to import `lab` from. before: a command that runs it."""
    command = [*before, PYTHON, str(program), f"{how}={mark}"]  # not `mark` alone: that is how the lab's are found
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root), **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def backend(mark: str, **options: Any) -> Any:
    from lab.driver.backends.sandbox import SandboxBackend

    programs = {"agent": (PYTHON, "-c", AGENT, mark), "supervisor": (PYTHON, "-c", SUPERVISOR, mark)}
    return SandboxBackend(**{**programs, **options})


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def _orderly(mark: str) -> None:
    lab = backend(mark).up(mark, None, False)
    _say(url=lab.url)
    sys.stdin.readline()
    lab.down()


def _crash(mark: str) -> None:
    _say(url=backend(mark).up(mark, None, False).url)
    raise RuntimeError("the driver has a bug")


def _wait(mark: str) -> None:
    lab = backend(mark).up(mark, None, False)
    try:
        _say(url=lab.url)
        signal.pause()
    except KeyboardInterrupt:
        lab.down()
        sys.exit(130)


def _hang_while_starting(mark: str) -> None:
    _say(starting=True)
    backend(mark, agent=(PYTHON, "-c", "import time; time.sleep(1000)", mark)).up(mark, None, False)


def _from_a_thread(mark: str) -> None:
    labs: list[Any] = []
    thread = threading.Thread(target=lambda: labs.append(backend(mark).up(mark, None, False)))
    thread.start()
    thread.join()
    _say(url=labs[0].url)
    signal.pause()


def _keep(mark: str) -> None:
    _say(url=backend(mark).up(mark, None, True).url)


ENDINGS = {f.__name__.strip("_"): f for f in (_orderly, _crash, _wait, _hang_while_starting, _from_a_thread, _keep)}

if __name__ == "__main__":
    ending, _, name = sys.argv[1].partition("=")
    ENDINGS[ending](name)
