"""The first process of a sandbox: makes the namespaces it finds itself in a lab's own, starts supervisor and agent, and
is their PID 1. When it ends, by whatever cause, the kernel ends everything in the sandbox.

Runs as a script on the system's Python, before anything of the kit can be imported; its start counts in each run, so
it imports little and calls mount(2) itself. What it is to do stands in its environment (`sandbox.py` starts it).
The one rule: it never outlives its purpose. It ends when the agent or the supervisor ends, on SIGTERM, and when the
driver's end of the lifeline closes, unless the driver has said that this lab is kept.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import sys
import time
from collections.abc import Mapping
from typing import Final, NoReturn

KIT: Final = "/run/lab/kit"  # fixed places inside, wherever the folders lie outside
POX: Final = "/run/lab/pox"
STATE: Final = "/run/balance-lab"
HELLO: Final = b"h"  # to the driver: the kernel adds our process id as the driver sees it
KEEP: Final = b"k"  # from the driver: stay when it ends
STOP_GRACE_S: Final = 2.0

# Whatever the lab's programs write to. Mininet's clean-up empties /tmp by patterns, Open vSwitch has fixed sockets.
PRIVATE: Final[Mapping[str, str]] = {
    "/tmp": "1777",
    "/var/tmp": "1777",
    "/dev/shm": "1777",
    "/run": "755",
    "/var/run": "755",
    "/var/log": "755",
    "/var/lib/nginx": "755",
    "/var/lib/openvswitch": "755",
    "/etc/openvswitch": "755",
}
FOLDERS: Final = (KIT, STATE, "/run/lock", "/run/openvswitch", "/var/log/openvswitch", "/var/log/nginx")

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
SIOCSIFFLAGS, IFF_UP = 0x8914, 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError naming the target."""
    if _libc.mount(*map(os.fsencode, (source, target, kind)), ctypes.c_ulong(flags), os.fsencode(options)):
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", target)


def make_private(kit: str, pox: str | None) -> None:
    """Give this mount namespace its own writable places, and the kit's and POX's folders at fixed ones."""
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    # Opened first: either folder may lie in /tmp or /run, which the next lines cover.
    folders = {KIT + "/lab": os.open(kit, os.O_PATH | os.O_DIRECTORY)}
    if pox:
        folders[POX] = os.open(pox, os.O_PATH | os.O_DIRECTORY)
    for target, mode in PRIVATE.items():
        if os.path.isdir(target) and not os.path.islink(target):  # /var/run is a link to /run on most systems
            mount("tmpfs", target, "tmpfs", options=f"mode={mode}")
    for folder in FOLDERS:
        os.makedirs(folder, exist_ok=True)
    for target, fd in folders.items():
        os.mkdir(target)
        # Left writable, so that Python keeps its compiled files as it does for any program that runs from there.
        mount(f"/proc/self/fd/{fd}", target, flags=MS_BIND | MS_REC)
        os.close(fd)


def protect_sysctls() -> None:
    """Make the host's settings read-only, and leave this network namespace's own writable.

    Mininet raises limits of the whole machine (fs.file-max, kernel.pty.max …) when it starts, and as root it could."""
    net = os.open("/proc/sys/net", os.O_PATH)
    mount("/proc/sys", "/proc/sys", flags=MS_BIND)
    mount("none", "/proc/sys", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
    mount(f"/proc/self/fd/{net}", "/proc/sys/net", flags=MS_BIND)
    os.close(net)


def loopback_up() -> None:
    fd = _libc.socket(2, 2, 0)  # AF_INET, SOCK_DGRAM; the socket module costs 5 ms to import
    fcntl.ioctl(fd, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    os.close(fd)


class Init:
    """PID 1: the two programs by name, and the loop that waits for an end."""

    def __init__(self, lifeline: int) -> None:
        self._lifeline = lifeline
        self._programs: dict[int, str] = {}
        self._ended: dict[str, int] = {}  # exit codes by name
        self._terminated = False
        self._wake, wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    def start(self, name: str, argv: list[str], env: Mapping[str, str], log: int) -> None:
        output = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
        pid = os.posix_spawn(argv[0], argv, env, file_actions=output, setsigdef=[signal.SIGINT, signal.SIGPIPE])
        self._programs[pid] = name

    def run(self) -> NoReturn:
        """Wait until something ends the lab."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(self._lifeline, select.POLLIN)
        while not self._ended and not self._terminated:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake in ready:
                self._reap()
            if self._lifeline in ready and self._driver_is_done():
                poll.unregister(self._lifeline)
        if self._terminated:
            self._stop_all()
            sys.exit(0)
        sys.exit("; ".join(f"the {name} ended with {_how(code)}" for name, code in self._ended.items()))

    def _driver_is_done(self) -> bool:
        """Whether the driver needs the lifeline no longer. If it has gone, so has this process."""
        try:
            said = os.read(self._lifeline, 1)
        except ConnectionResetError:  # it never read our greeting
            said = b""
        if said != KEEP:
            os._exit(0)  # the lab goes with it at once
        return True

    def _on_term(self, *_: object) -> None:
        self._terminated = True

    def _reap(self) -> None:
        os.read(self._wake, 4096)
        while self._programs:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid in self._programs:
                self._ended[self._programs.pop(pid)] = os.waitstatus_to_exitcode(status)

    def _stop_all(self) -> None:
        """Agent first: it takes its network down while the controller is still there."""
        for pid, name in sorted(self._programs.items(), key=lambda item: item[1]):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + STOP_GRACE_S
            while name not in self._ended and time.monotonic() < deadline:
                select.select([self._wake], [], [], 0.1)
                self._reap_quietly()

    def _reap_quietly(self) -> None:
        try:
            self._reap()
        except BlockingIOError:  # nothing had woken us
            return


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def main() -> NoReturn:
    plan = json.loads(os.environ.pop("LAB_PLAN"))
    listening, lifeline, controller_log = plan["fds"]
    for fd in plan["fds"]:
        os.set_inheritable(fd, False)
    init = Init(lifeline)
    os.umask(0o022)  # inside there may be other users than root, and they get through these folders
    try:
        make_private(plan["kit"], plan["pox"])
        protect_sysctls()
        loopback_up()
        os.chdir("/tmp")
        env = {**os.environ, "PYTHONPATH": KIT, "LAB_STATE": STATE, **({"POX_HOME": POX} if plan["pox"] else {})}
        init.start("supervisor", plan["supervisor"], env, controller_log)
        os.set_inheritable(listening, True)
        init.start("agent", plan["agent"], {**env, "LAB_LISTEN_FD": str(listening)}, 1)
        os.close(listening)  # so that the address closes with the agent
        os.write(lifeline, HELLO)
    except OSError as error:
        sys.exit(f"the sandbox could not be set up: {error}")
    init.run()


if __name__ == "__main__":
    main()
