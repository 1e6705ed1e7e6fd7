"""Starts the agent: `/usr/bin/python3 -m lab.agent`. See the README for its environment (LAB_TOKEN, LAB_LISTEN_FD, …).

Open vSwitch's daemons start, and Mininet is imported, while the API is still being imported. Beside its port it is
served on $LAB_STATE/agent.sock, where the `lab` command finds it. Rule: SIGTERM ends all that was started.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from lab import wire
from lab.agent.agent import Agent
from lab.agent.openvswitch import OpenVSwitch
from lab.agent.refusal import Refusal

if TYPE_CHECKING:
    from lab.agent.api import Api
    from lab.agent.network import Net

log = logging.getLogger("lab.agent")


def main() -> int:
    os.umask(0o022)  # the web servers, as another user, get to their files
    state = Path(os.environ.get("LAB_STATE", "/run/balance-lab"))
    state.mkdir(parents=True, exist_ok=True)
    _log_to(state / "agent.log")
    token = _token(state)
    controller = os.environ.get("LAB_CONTROLLER", "127.0.0.1")
    agent = Agent(state, controller, OpenVSwitch(state), _new_net)
    Thread(target=_import_mininet, daemon=True).start()
    try:
        listener = _listener()
        from lab.agent.api import Api
        from lab.agent.supervisor import Supervisor

        api = Api(agent, Supervisor(controller, token), token, state / "agent.log")
        _serve(api, listener, state / "agent.sock")
    except OSError as error:
        log.error("can't listen: %s", error.strerror or error)
        return 3
    finally:
        agent.close()
    return 0


def _log_to(path: Path) -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname).1s %(message)s",
        datefmt="%H:%M:%S",
        handlers=[logging.StreamHandler(), logging.FileHandler(path, mode="w")],
    )


def _token(state: Path) -> str:
    """The lab's token, left where the `lab` command (and nobody but this user) can read it."""
    path = state / "token"
    token = os.environ.pop("LAB_TOKEN", "")  # out of the environment, which every command on a host inherits
    if not token:
        with suppress(OSError):
            token = path.read_text().strip()
    token = token or secrets.token_urlsafe(32)
    new = path.with_name(f"token.{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(token)
    new.replace(path)
    return token


def _import_mininet() -> None:
    """Ahead of time: half a second that the first network need not wait for."""
    with suppress(ImportError):  # told when a network is asked for
        import lab.agent.network  # noqa: F401


def _new_net(network: wire.Network, ovs: OpenVSwitch) -> Net:
    try:
        from lab.agent.network import Net
    except ImportError as error:
        raise Refusal(500, f"Mininet can't be imported by {sys.executable}: {error}") from None
    return Net(network, ovs)


def _listener() -> socket.socket:
    if fd := os.environ.get("LAB_LISTEN_FD"):
        return socket.socket(fileno=int(fd))
    return socket.create_server((os.environ.get("LAB_AGENT_HOST", "127.0.0.1"), wire.AGENT_PORT), backlog=128)


def _serve(api: Api, listener: socket.socket, path: Path) -> None:
    """Until SIGTERM or SIGINT."""
    stop = Event()
    ended: SimpleQueue[None] = SimpleQueue()  # what has a lock, as an Event, may hang in a handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.put(None))
    path.unlink(missing_ok=True)
    beside = socket.socket(socket.AF_UNIX)
    beside.bind(str(path))
    path.chmod(0o600)
    beside.listen()
    for door in (listener, beside):
        api.serve(door)
    log.info("the agent listens on %s", ":".join(map(str, listener.getsockname()[:2])))
    if os.environ.get("LAB_AUTOSTART") == "1":
        Thread(target=_start_default, args=(api, stop), daemon=True).start()
    ended.get()
    stop.set()
    api.close()


def _start_default(api: Api, stop: Event) -> None:
    """Build and connect the tutorial's network; a controller that comes later is found by the switches themselves."""
    try:
        api.build(wire.default_network())
    except Refusal as refusal:
        log.error("the default network can't be built: %s", refusal)
        return
    while True:
        try:
            api.connect()
            break
        except Refusal as refusal:
            log.warning("%s; still trying", refusal)
            if stop.wait(1):
                return
    log.info("try next, where the agent runs:  lab h3 curl -i http://10.0.1.1/   lab hits   lab flows   lab pingall")


if __name__ == "__main__":
    sys.exit(main())
