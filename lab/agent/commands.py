"""Runs any command on a host, as `lab h3 curl …` and the API's /exec do.

A host's command joins its network and its mounts (so /sys shows the host's interfaces) through Mininet's own `mnexec`.
Rule: at its time-out a command's whole process group is killed, so that nothing stays behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

MAX_OUTPUT = 10_000_000  # characters of each stream that are returned


class Job(Protocol):
    """Something that blocks, with an end and a way to end it early."""

    def run(self) -> dict[str, Any]: ...

    def cancel(self) -> None: ...


class Command:
    """A command that can be cancelled from another thread while `run` waits for it."""

    def __init__(self, argv: Sequence[str], pid: int | None, timeout_s: float) -> None:
        """pid: a process of the host to run on; None: the agent's own namespace."""
        self._program = argv[0]
        self._argv = list(argv) if pid is None else ["mnexec", "-a", str(pid), *argv]
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[str] | None = None
        self._cancelled = False

    def run(self) -> dict[str, Any]:
        """Blocks; returns exit_code (124 after the time-out, 127 when there is no such program), stdout, stderr."""
        if shutil.which(self._program) is None:  # mnexec would answer 1, like any program that failed
            return _result(127, "", f"{self._program}: there is no such program\n")
        try:
            child = self._child = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return _result(127, "", f"{self._program}: {error.strerror}\n")
        if self._cancelled:
            self._kill(child)
        try:
            out, err = child.communicate(timeout=self._timeout_s)
        except subprocess.TimeoutExpired:
            self._kill(child)
            out, err = child.communicate()
            return _result(124, out, f"{err}(killed after {self._timeout_s:g} s)\n")
        return _result(child.returncode, out, err)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def cancel(self) -> None:
        self._cancelled = True
        if self._child is not None:
            self._kill(self._child)

    @staticmethod
    def _kill(child: subprocess.Popen[str]) -> None:
        if child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)


def _result(exit_code: int, out: str, err: str) -> dict[str, Any]:
    return {"exit_code": exit_code, "stdout": out[:MAX_OUTPUT], "stderr": err[:MAX_OUTPUT]}


def output_of(argv: Sequence[str], timeout_s: float = 5.0) -> str:
    """Standard output of a short command of the agent's own; empty where it can't be run."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
