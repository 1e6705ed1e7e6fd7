"""What the kernel has counted: a process's CPU time and memory, a host's TCP, its sockets in TIME_WAIT.

A host's network is read through /proc/PID/net of its shell, so nothing is started for it. Rule: what isn't there counts
as zero, since a kernel leaves out what it was built without.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LISTEN = "0A"  # the state's number in /proc/net/tcp
TICKS = os.sysconf("SC_CLK_TCK")
KEPT = {  # of all that a kernel counts, what tells of connections and of stalls
    "Tcp": ("ActiveOpens", "PassiveOpens", "AttemptFails", "EstabResets", "RetransSegs", "OutRsts"),
    "TcpExt": ("TCPSynRetrans", "TCPTimeouts", "ListenOverflows", "ListenDrops", "TCPTimeWaitOverflow"),
}


def cpu_s(pid: int) -> float:
    """CPU seconds of all threads of a process since its start, in user and kernel mode; 0: it is gone."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / TICKS
    return 0.0


def memory_peak_mb(pid: int) -> float:
    """The most that a process has held in memory (10^6 bytes)."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return 0.0


def tcp(pid: int) -> dict[str, int]:
    """What the kernel has counted of TCP in the network of process `pid`."""
    found: dict[str, int] = {}
    for file, section in (("snmp", "Tcp"), ("netstat", "TcpExt")):
        with suppress(OSError):
            counts = parse(Path(f"/proc/{pid}/net/{file}").read_text(), section)
            found.update({name: counts.get(name, 0) for name in KEPT[section]})
    return found


def parse(text: str, section: str) -> dict[str, int]:
    """A section of /proc/net/snmp or netstat: a line of names, then a line of numbers, both after `section:`."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith(f"{section}:")]
    return dict(zip(lines[0], map(int, lines[1]))) if len(lines) == 2 else {}


def listens(pid: int, port: int) -> bool:
    """Whether anything listens on TCP `port` in the network of process `pid`."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):  # the process is gone, or the kernel has no IPv6
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTEN and words[1].endswith(f":{port:04X}"):
                    return True
    return False


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before.get(name, 0) for name in after}


def time_wait(pid: int) -> int:
    """Sockets in TIME_WAIT in the network of process `pid`."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/net/sockstat").read_text().splitlines():
            words = line.split()
            if words[0] == "TCP:":
                return int(words[words.index("tw") + 1])
    return 0
