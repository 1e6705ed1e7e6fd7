"""Open vSwitch's two daemons and its commands: start, versions, controllers, flows, stop.

The database lives in the lab's state folder and is made anew, so no bridge of an earlier lab can be in it.
`is_connected` in that database is refreshed every 5 s only; the daemon's log tells at once, so that is read: its debug
lines about states, because what it says at the usual level ceases after some vain attempts.
Rule: switches are always told in one call for all of them, each call costs 10 ms.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lab.agent.refusal import Refusal

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
RUN = Path("/run/openvswitch")
MODULE = Path("/sys/module/openvswitch")
TUN = "/dev/net/tun"
STATE = re.compile(r"\|rconn\|DBG\|(?P<switch>[^|<]+)<->tcp:\S+: entering (?P<state>\w+)")
HASH, SYMMETRIC_L4 = "Max dp_hash algorithm", 1  # OVS_HASH_ALG_SYM_L4
TRACKER = ("Recirc", "CT state", "CT zone", "CT state NAT")  # what `ct` with translation needs of a datapath
CONNECTED = ("ACTIVE", "IDLE")  # of rconn's states; IDLE: an echo request is on its way
NO_VERSION = re.compile(r"version negotiation failed \(we support (?P<ours>.+), peer supports (?P<theirs>.+)\)")
DROPPED = re.compile(r"\|rconn\|WARN\|(?P<switch>[^|<]+)<->tcp:\S+: connection dropped")
VERSION_NAMES = {"0x01": "1.0", "0x02": "1.1", "0x03": "1.2", "0x04": "1.3", "0x05": "1.4", "0x06": "1.5"}
POLL_S = 0.005


def read_connections(lines: Iterable[str], known: dict[str, bool]) -> None:
    """Bring `known` (switch → connected) up to date with lines of ovs-vswitchd's log."""
    for line in lines:
        if found := STATE.search(line):
            known[found["switch"]] = found["state"] in CONNECTED


def read_tracker(features: str) -> bool | None:
    """Whether there is a connection tracker that translates, by what `dpif/show-dp-features` prints; None: unsaid."""
    said = _said(features)
    if not all(name in said for name in TRACKER):
        return None
    return all(said[name] == "Yes" for name in TRACKER)


def read_hash(features: str) -> bool | None:
    """Whether a group can hash addresses and ports itself, by the same text; None: unsaid.

    Else it takes the hash that the kernel has put on a packet, which may change when a packet is sent again."""
    algorithm = _said(features).get(HASH, "")
    return int(algorithm) >= SYMMETRIC_L4 if algorithm.isdecimal() else None


def _said(features: str) -> dict[str, str]:
    return dict(line.strip().rsplit(": ", 1) for line in features.splitlines() if ": " in line)


def read_misfits(lines: Iterable[str], misfits: dict[str, str]) -> None:
    """Bring `misfits` (switch → why it can't speak with its controller) up to date with lines of ovs-vswitchd's log.

    The line that tells the versions doesn't tell the switch; the one behind it does."""
    why = ""
    for line in lines:
        if versions := NO_VERSION.search(line):
            ours, theirs = (_version_names(versions[side]) for side in ("ours", "theirs"))
            why = f"it speaks OpenFlow {ours}, the controller {theirs}"
        elif why and (found := DROPPED.search(line)):
            misfits[found["switch"]] = why
            why = ""


def _version_names(text: str) -> str:
    """ "version 0x04 and earlier" → "1.3 and earlier"."""
    numbers = re.sub("^versions? ", "", text)
    return re.sub(r"0x[0-9a-f]+", lambda number: VERSION_NAMES.get(number[0], number[0]), numbers)


class OpenVSwitch:
    """The daemons, theirs logs and their commands. Blocking."""

    def __init__(self, state: Path) -> None:
        self._home = state / "openvswitch"
        self._log = self._home / "ovs-vswitchd.log"
        self._pidfiles: list[Path] = []  # of the daemons that are ours
        self._reading = threading.Lock()
        self._known: dict[str, bool] = {}
        self._misfits: dict[str, str] = {}
        self._read = 0  # bytes of the log that have been read
        self.version = "unknown"

    @property
    def datapath(self) -> str:
        """kernel, where the module is loaded; else user. The module is never loaded from here: it is the host's."""
        return "kernel" if MODULE.exists() else "user"

    def start(self) -> None:
        """Start the daemons unless they run; takes 0.06 s."""
        version = subprocess.Popen(["ovs-vswitchd", "--version"], stdout=subprocess.PIPE, text=True)
        if not _answers(RUN / "db.sock"):
            self._start_daemons()
        found = re.search(r"\d+\.\d+(\.\d+)?", version.communicate()[0])
        self.version = found.group() if found else "unknown"

    def _start_daemons(self) -> None:
        for folder in (self._home, RUN):
            folder.mkdir(parents=True, exist_ok=True)
        database = self._home / "conf.db"
        database.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        run(["ovsdb-tool", "create", str(database), str(SCHEMA)])
        self._daemon("ovsdb-server", f"--remote=punix:{RUN}/db.sock", str(database))
        self.vsctl("--no-wait", "init")
        self._start_switches()

    def _start_switches(self) -> None:
        """Answers when the bridges of the database are there."""
        self._daemon("ovs-vswitchd", "-vrconn:file:dbg")

    def restart_switches(self) -> None:
        """As after a power cut: the switches' program is killed and started, and every rule and tracked connection is
        gone. One program runs all of them. Their ports and controllers stand in the database, and come back."""
        pidfile = RUN / "ovs-vswitchd.pid"
        if pidfile not in self._pidfiles:
            raise Refusal(409, "Open vSwitch was not started by this lab, so it is not restarted either")
        pid = int(pidfile.read_text())
        os.kill(pid, signal.SIGKILL)
        _wait_until_gone(pid)
        self.forget()  # it could not say good-bye
        self._pidfiles.remove(pidfile)
        self._start_switches()
        run(["ovs-appctl", "dpctl/flush-conntrack"])  # the kernel's table outlives the program

    def _daemon(self, program: str, *args: str) -> None:
        pidfile = RUN / f"{program}.pid"
        log = self._home / f"{program}.log"
        run([program, f"--pidfile={pidfile}", "--detach", f"--log-file={log}", "-vconsole:off", *args])
        self._pidfiles.append(pidfile)

    def check(self) -> None:
        """Raises Refusal where switches can't work here."""
        if self.datapath == "user" and not os.access(TUN, os.R_OK | os.W_OK):
            raise Refusal(500, f"{TUN} can't be opened, and Open vSwitch's userspace datapath needs it")

    def vsctl(self, *args: str) -> str:
        return run(["ovs-vsctl", "--timeout=20", *args])

    def set_controllers(self, targets: Mapping[str, str]) -> None:
        """Point each switch at its target (tcp:IP:PORT), in one step, so that none is without: it would drop its rules.

        They connect by themselves, and again whenever they lose it.

        Vain attempts come after 1, 2, 4, then every 8 s: Open vSwitch 3.1 takes max_backoff, and doesn't keep to it;
        see reconnection.py.
        """
        self.connected(())
        self._misfits.clear()  # another controller may speak what the last one didn't
        words: list[str] = []
        for switch, target in targets.items():
            settings = [f'target="{target}"', "max_backoff=1000", "inactivity_probe=0"]
            words += ["--", f"--id=@{switch}", "create", "Controller", *settings]
            words += ["--", "set", "Bridge", switch, f"controller=@{switch}"]
        self.vsctl(*words)

    def targets(self, switches: Sequence[str]) -> dict[str, str]:
        """Where each switch looks for its controller; one that has none, or several, is left out."""
        words = self.vsctl("--bare", "--columns=_uuid,target", "list", "Controller").split()
        known = dict(zip(words[::2], words[1::2]))
        asked = [word for switch in switches for word in ("--", "get", "Bridge", switch, "controller")]
        found = (line.strip("[]") for line in self.vsctl(*asked).splitlines())
        return {switch: known[uuid] for switch, uuid in zip(switches, found) if uuid in known}

    def connected(self, switches: Iterable[str]) -> dict[str, bool]:
        """Which switches have a controller now."""
        if self._log.exists():
            with self._reading:
                self._read_log()
                return {switch: self._known.get(switch, False) for switch in switches}
        return {switch: self._connected_by_database(switch) for switch in switches}

    def _read_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._read)
            fresh = log.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        self._read += len(whole)
        lines = whole.decode("utf-8", "replace").splitlines()
        read_connections(lines, self._known)
        read_misfits(lines, self._misfits)

    def _connected_by_database(self, switch: str) -> bool:
        """Where the daemons are not ours: right, but up to 5 s late."""
        controller = self.vsctl("get", "Bridge", switch, "controller").strip("[] \n")
        return bool(controller) and self.vsctl("get", "Controller", controller, "is_connected").strip() == "true"

    def wait_connected(self, switches: Sequence[str], timeout_s: float, give_up: threading.Event) -> list[str]:
        """Wait until all have a controller; returns those that have none when the time is over, or at `give_up`, or
        when one of them will never have one: see `misfit`."""
        deadline = time.monotonic() + timeout_s
        while missing := [name for name, fine in self.connected(switches).items() if not fine]:
            if time.monotonic() >= deadline or self.misfit(missing) or give_up.wait(POLL_S):
                break
        return missing

    def abilities(self, switch: str) -> dict[str, bool | None]:
        """What the switch's datapath can do of what only some can: "tracker" translates connections, "hash" makes one
        of addresses and ports for a group; None: it can't be known."""
        try:
            said = run(["ovs-appctl", "dpif/show-dp-features", switch])
        except Refusal:  # an Open vSwitch that doesn't know the question
            said = ""
        return {"tracker": read_tracker(said), "hash": read_hash(said)}

    def misfit(self, switches: Sequence[str]) -> str:
        """One sentence about a switch that shares no OpenFlow version with its controller; empty: there is none."""
        found = next((switch for switch in switches if switch in self._misfits), None)
        if found is None:
            return ""
        mend = f"let it speak more (ovs-vsctl set Bridge {found} protocols=[]) or choose another engine"
        return f"{found} can't use this controller: {self._misfits[found]}; {mend}"

    def flows(self, switches: Iterable[str]) -> str:
        """The flow table of each switch, as ovs-ofctl prints it, under a line with its name."""
        return "".join(f"# {switch}\n{run(['ovs-ofctl', 'dump-flows', switch])}" for switch in switches)

    def count_flows(self, switches: Iterable[str]) -> int:
        """How many rules stand in all tables of them."""
        answers = (run(["ovs-ofctl", "dump-aggregate", switch]) for switch in switches)
        return sum(int(found[1]) for answer in answers if (found := re.search(r"flow_count=(\d+)", answer)))

    def forward_plainly(self, switch: str) -> None:
        """No controller, one rule: learn and forward, as a switch without OpenFlow does."""
        self.vsctl("del-controller", switch)
        run(["ovs-ofctl", "del-flows", switch])
        run(["ovs-ofctl", "add-flow", switch, "priority=0,actions=NORMAL"])

    def forget(self) -> None:
        """The switches are gone: what was known of their connections doesn't hold for others of their names."""
        self.connected(())
        self._known.clear()

    def stop(self) -> None:
        """End the daemons that were started here."""
        for pidfile in reversed(self._pidfiles):
            with suppress(OSError, ValueError):
                _end(int(pidfile.read_text()))
        self._pidfiles.clear()


def run(argv: Sequence[str], stdin: str | None = None) -> str:
    """Run a command of the lab's own; returns its output. Raises Refusal(500) with what it said."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, errors="replace", timeout=30)
    except FileNotFoundError:
        raise Refusal(500, f"{argv[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Refusal(500, f"{argv[0]} didn't end within 30 s") from None
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Refusal(500, f"{argv[0]} failed: {said[:500]}")
    return done.stdout


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _wait_until_gone(pid: int) -> None:
    """A killed process that is a zombie is gone too: its parent may take its time to notice."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(POLL_S)


def _end(pid: int) -> None:
    """SIGTERM, and SIGKILL when it is still there after 2 s. It isn't our child, so it can only be looked for."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(POLL_S)
