"""Calls of the Compose v2 command on the kit's compose.yaml.

The one rule: what it is told stands in its environment, never in its command line, since one of these is the token.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Compose:
    """The Compose command `words` (`docker compose`, or a docker-compose binary) for the project of that name."""

    def __init__(self, words: Sequence[str], folder: Path, project: str) -> None:
        file = str(folder / "compose.yaml")
        plain = ["--ansi", "never", "--progress", "plain"]
        self._command = [*words, *plain, "--project-directory", str(folder), "--file", file, "--project-name", project]

    def run(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to its end; `stdout` holds both streams. Ctrl-C ends it too, and at once."""
        process = subprocess.Popen(
            [*self._command, *args],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches the driver alone, which then tidies up in order
        )
        try:
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, output)
