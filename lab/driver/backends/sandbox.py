"""The sandbox: a lab as processes in private user (when need be), network, mount, ipc and process namespaces.

How nothing is left on the host: all that a lab makes lives in its namespaces, and those end with the sandbox's first
process (`sandbox_init`), which ends when our end of its lifeline closes. The kernel closes that, however we end. A
second guard needs no help from inside: pdeathsig, which kills at the death of the *thread* that started the lab, and so
is set only from the main thread. The one rule: the token stands in the environment and, for kept labs, in the registry;
never in a command line.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import lab
from lab.driver.backends import registry, requirements, sandbox_init
from lab.driver.backends.base import Missing
from lab.driver.backends.port import fixed_port
from lab.driver.backends.processes import children, identity, terminate
from lab.driver.backends.registry import LOGS, Entry
from lab.driver.errors import LabError, LeftBehind

if TYPE_CHECKING:
    from lab.driver.backends.ahead import Ahead

SUPERVISOR: Final = (requirements.PYTHON, "-s", "-m", "lab.engines.supervisor")
AGENT: Final = (requirements.PYTHON, "-s", "-m", "lab.agent")
KIT: Final = Path(lab.__file__).parent
Logs = dict[str, IO[bytes]]
PAUSE_S: Final = 0.01  # between questions to an agent that has answered but isn't ready
TAIL_LINES: Final = 5
DOWN_S: Final = 2.0  # a sandbox ends in some 50 ms
KILL_S: Final = 2.0


class SandboxLab:
    """A lab that ends with this process, or before it by `down`. Owns what it is given."""

    backend = "sandbox"

    def __init__(
        self, name: str, port: int, token: str, process: subprocess.Popen[bytes], lifeline: socket.socket, logs: Logs
    ):
        self.name, self.url, self.token = name, f"http://127.0.0.1:{port}", token
        self._process, self._lifeline = process, lifeline
        self._files = logs
        self._texts: dict[str, str] = {}  # set when the files are closed

    def alive(self) -> bool:
        return self._process.poll() is None

    def why_dead(self) -> str:
        return "" if self.alive() else _how_it_ended(self.logs()["agent.log"])

    def logs(self) -> dict[str, str]:
        return dict(self._texts) or {name: _read_all(file.fileno()) for name, file in self._files.items()}

    def down(self) -> None:
        """End the lab. `unshare`, our child, ends after all else in the sandbox, so it is enough to wait for it."""
        self._lifeline.close()
        left: list[int] = []
        try:
            self._process.wait(DOWN_S)
        except subprocess.TimeoutExpired:  # the first process is stopped, or stuck
            inside = children(self._process.pid)
            self._process.kill()
            self._process.wait()
            left = [pid for pid, who in inside if not terminate(pid, who, KILL_S)]
        self._close_logs()
        if left:
            raise _left_behind(self.name, left[0])

    def first_process(self) -> int:
        """Process id of the sandbox's PID 1 as seen from here: the kernel attaches it to the message of its start."""
        size = struct.calcsize("3i")
        _, ancillary, _, _ = self._lifeline.recvmsg(1, socket.CMSG_SPACE(size))
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return int(struct.unpack("3i", data[:size])[0])
        raise LabError(f"the lab {self.name} ended while it started: {_how_it_ended(self.logs()['agent.log'])}")

    def keep(self, entry: Entry) -> KeptLab:
        """Let it outlive this process, as `entry` describes it."""
        self._lifeline.send(sandbox_init.KEEP)
        self._lifeline.close()
        self._close_logs()
        return KeptLab(entry, self._process)

    def _close_logs(self) -> None:
        if not self._texts:
            self._texts = self.logs()
            for file in self._files.values():
                file.close()


class KeptLab:
    """A lab of the registry: it outlives the process that started it, and ends by `down`."""

    backend = "sandbox"

    def __init__(self, entry: Entry, process: subprocess.Popen[bytes] | None = None):
        self.name, self.url, self.token = entry.name, entry.url, entry.token
        self._entry = entry
        self._process = process  # where it was started by this very process

    def alive(self) -> bool:
        return self._entry.alive

    def why_dead(self) -> str:
        return "" if self.alive() else _how_it_ended(self.logs()["agent.log"])

    def logs(self) -> dict[str, str]:
        paths = {name: registry.log_path(self.name, name) for name in LOGS}
        return {name: path.read_text(errors="replace") if path.exists() else "" for name, path in paths.items()}

    def down(self) -> None:
        pid, who = self._entry.pid, self._entry.identity
        if pid is not None and who is not None and not terminate(pid, who):
            raise _left_behind(self.name, pid)
        if self._process:
            self._process.wait()
        registry.remove(self.name)


class SandboxBackend:
    """Labs without a container engine. What they need of the machine stands in `requirements`.

    agent, supervisor: command lines, by absolute path, run inside. timeout_s: for both to answer."""

    name = "sandbox"

    def __init__(
        self,
        *,
        agent: Sequence[str] = AGENT,
        supervisor: Sequence[str] = SUPERVISOR,
        environ: Mapping[str, str] = os.environ,
        timeout_s: float = 15.0,
    ):
        self._programs = {"agent": list(agent), "supervisor": list(supervisor)}
        self._environ = environ
        self._timeout_s = timeout_s
        self.ahead: Ahead | None = None  # a lab that was begun before it was asked for

    def missing(self) -> list[Missing]:
        return requirements.missing()

    def prepare(self, pox: Path | None) -> None:
        """Nothing: all of it is on the machine already."""

    def attach(self, entry: Entry) -> KeptLab:
        return KeptLab(entry)

    def up(self, name: str, pox: Path | None, keep: bool) -> SandboxLab | KeptLab:
        """See Backend.up. The lab of a thread other than the main one may outlive a driver that is killed by 50 ms."""
        if not keep:
            return self._ready((self.ahead and self.ahead.take(name, pox)) or self.start(name, pox))
        entry = registry.claim(name, self.name)
        try:
            return self._up_kept(entry, pox)
        except BaseException:
            registry.remove(name)
            raise

    def start(self, name: str, pox: Path | None) -> SandboxLab:
        """A lab that ends with this process, as `up` gives it, but its programs need not answer yet."""
        # without a name, so gone with their last user; the lab closes them
        logs: Logs = {log: tempfile.TemporaryFile() for log in LOGS}  # noqa: SIM115
        return self._start(name, pox, logs, guarded=True)

    def _up_kept(self, entry: Entry, pox: Path | None) -> KeptLab:
        logs: Logs = {log: registry.create_log(entry.name, log) for log in LOGS}
        lab = self._ready(self._start(entry.name, pox, logs, guarded=False))
        try:
            pid = lab.first_process()
            entry = replace(entry, url=lab.url, token=lab.token, pid=pid, identity=identity(pid))
            registry.save(entry)  # before it is let go: should we be killed here, it ends, and the entry is stale
            return lab.keep(entry)
        except BaseException:
            lab.down()
            raise

    def _start(self, name: str, pox: Path | None, logs: Logs, guarded: bool) -> SandboxLab:
        try:
            listening = _listen(fixed_port(self._environ))
            return self._spawn(name, pox, listening, logs, guarded)
        except BaseException:
            for file in logs.values():
                file.close()
            raise

    def _ready(self, lab: SandboxLab) -> SandboxLab:
        """`lab`, when its programs answer."""
        try:
            self._wait_until_ready(lab)
        except BaseException:
            lab.down()
            raise
        return lab

    def _spawn(self, name: str, pox: Path | None, listening: socket.socket, logs: Logs, guarded: bool) -> SandboxLab:
        lifeline, inner_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        lifeline.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        token = secrets.token_urlsafe(24)
        fds = [listening.fileno(), inner_end.fileno(), logs["controller.log"].fileno()]
        plan = {**self._programs, "fds": fds, "kit": str(KIT), "pox": str(pox.absolute()) if pox else None}
        with listening, inner_end:
            process = subprocess.Popen(
                _command(guarded),
                env={"PATH": requirements.PATH, "LANG": "C.UTF-8", "LAB_TOKEN": token, "LAB_PLAN": json.dumps(plan)},
                stdin=subprocess.DEVNULL,
                stdout=logs["agent.log"],
                stderr=subprocess.STDOUT,
                pass_fds=fds,
                start_new_session=True,  # Ctrl-C reaches the driver alone, which then ends the lab in order
            )
            return SandboxLab(name, listening.getsockname()[1], token, process, lifeline, logs)

    def _wait_until_ready(self, lab: SandboxLab) -> None:
        """Ask until agent and supervisor answer. The socket listens already: the first question waits for the agent."""
        deadline = time.monotonic() + self._timeout_s
        for path in ("/health", "/controller"):
            while (status := _ask(lab, path, deadline)) != http.HTTPStatus.OK:
                if not lab.alive():
                    raise LabError(f"the lab ended while it started: {lab.why_dead()}")
                if time.monotonic() > deadline:
                    raise LabError(_no_answer(lab, path, status, self._timeout_s))
                time.sleep(PAUSE_S)


def _left_behind(name: str, pid: int) -> LeftBehind:
    """All of a lab hangs on its first process."""
    return LeftBehind(f"process {pid}, and so the lab {name}, can't be ended: kill -9 {pid}")


def _command(guarded: bool) -> list[str]:
    guard = (
        ["setpriv", "--pdeathsig", "KILL"] if guarded and threading.current_thread() is threading.main_thread() else []
    )
    user = ["--user", "--map-root-user"] if requirements.needs_user_namespace() else []
    spaces = [*user, "--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*guard, "unshare", *spaces, requirements.PYTHON, "-I", "-S", sandbox_init.__file__]


def _listen(port: int) -> socket.socket:
    """A socket on 127.0.0.1, made out here so that it is reached from here, whatever namespace serves it."""
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise LabError(
            f"port {port} can't be used ({error}): set LAB_PORT to another, or unset it for any free port"
        ) from None
    return sock


def _ask(lab: SandboxLab, path: str, deadline: float) -> int | None:
    """HTTP status of a GET; None: no answer."""
    host = lab.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=max(PAUSE_S, deadline - time.monotonic()))
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {lab.token}"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _no_answer(lab: SandboxLab, path: str, status: int | None, seconds: float) -> str:
    who = "agent" if path == "/health" else "supervisor"
    said = "" if status is None else f" (HTTP status {status})"
    tail = " | ".join(_tail(text) for text in lab.logs().values() if text)
    return f"the lab's {who} did not answer within {seconds:g} s{said}; last in its logs: {tail or 'nothing'}"


def _how_it_ended(log: str) -> str:
    """The end of a lab's log, or what it means."""
    if "unshare: " in log and "perm" in log:  # "unshare failed" or "write failed /proc/self/uid_map", not permitted
        refused = requirements.userns_refused()
        return f"{refused.what}: {refused.mend}"
    return _tail(log) or "it left no message (killed from outside?)"


def _tail(log: str) -> str:
    return " / ".join(line.strip() for line in log.splitlines()[-TAIL_LINES:])


def _read_all(fd: int) -> str:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0).decode(errors="replace")  # the lab writes through this very file: its position stays
