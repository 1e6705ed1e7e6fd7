"""Programs of a bench, started on hosts together and waited for together; cancelling ends all of them.

Rule: after `finish` or `end` none of them is left.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from lab.agent.namespaces import Place
from lab.agent.privileges import as_nobody
from lab.agent.refusal import Refusal

PACKAGES = {  # program → the Debian package that has it
    "wrk": "wrk",
    "iperf3": "iperf3",
    "haproxy": "haproxy",
    "nft": "nftables",
    "ipvsadm": "ipvsadm",
}


def need(program: str) -> str:
    """Raises Refusal(409), with the command that mends it, where `program` is missing."""
    path = shutil.which(program, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Refusal(409, f"{program} is not installed: apt-get install {PACKAGES[program]}")
    return path


@dataclass(frozen=True)
class Output:
    exit_code: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1][:300] if lines else "it said nothing"


class Programs:
    """Any thread may cancel while another waits."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[str]] = []
        self._cancelled = threading.Event()

    def start(self, place: Place, argv: Sequence[str]) -> subprocess.Popen[str]:
        """As nobody, where that can be. Output is small, so it waits in the pipe until `finish`."""
        pipe = subprocess.PIPE
        child: subprocess.Popen[str] = place.popen(  # type: ignore[assignment]  # text, by the options
            [*as_nobody(), *argv], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, errors="replace"
        )
        self._children.append(child)
        if self._cancelled.is_set():
            child.kill()
        return child

    def finish(self, within_s: float) -> list[Output]:
        """Wait for all, in the order of their start; those that are not done in time are killed (exit code -9)."""
        deadline = time.monotonic() + within_s
        outputs = []
        for child in self._children:
            try:
                out, err = child.communicate(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                out, err = child.communicate()
            outputs.append(Output(child.returncode, out, err))
        self._children.clear()
        return outputs

    def wait(self, seconds: float) -> bool:
        """Sleep; True: it was cancelled."""
        return self._cancelled.wait(seconds)

    def cancel(self) -> None:
        self._cancelled.set()
        for child in list(self._children):
            with suppress(ProcessLookupError):
                child.kill()

    def end(self) -> None:
        """Kill what still runs; more may be started later."""
        for child in self._children:
            child.kill()
            child.communicate()
        self._children.clear()
