"""Processes named so that a number used again is never taken for the one that was meant.

An identity is boot, process id and start time. The one rule: nothing is signalled before its identity was compared, and
signals go through a pidfd, so that the process can't be another one by then.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identity(pid: int) -> str | None:
    """Boot and start time of a living process; None where there is none (or only a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before may hold spaces and parentheses
    if fields[0] in "ZX":
        return None
    return f"{_BOOT_ID.read_text().strip()}/{fields[19]}"


def children(pid: int) -> list[tuple[int, str]]:
    """The living children of a process, with their identities."""
    try:
        numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    known = ((int(number), identity(int(number))) for number in numbers)
    return [(number, who) for number, who in known if who]


def is_running(pid: int, who: str) -> bool:
    return identity(pid) == who


def terminate(pid: int, who: str, grace_s: float = 5.0) -> bool:
    """SIGTERM, after `grace_s` SIGKILL; whether the process is gone. Nothing happens if it isn't `who` any more.

    Raises PermissionError: the process is another user's."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not is_running(pid, who):
            return True
        return _signal_and_wait(pidfd, signal.SIGTERM, grace_s) or _signal_and_wait(pidfd, signal.SIGKILL, 5.0)
    finally:
        os.close(pidfd)


def _signal_and_wait(pidfd: int, number: signal.Signals, seconds: float) -> bool:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
