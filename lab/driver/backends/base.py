"""What the driver asks of a backend and of a lab that runs: two protocols, and the description of what is missing.

A backend brings up the same two programs (agent and supervisor) somewhere; from then on the driver only speaks to the
agent's API. The one rule: nothing above this package knows which backend it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.driver.backends.registry import Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class Missing:
    """One thing that keeps a backend from running here, and the command or step that mends it."""

    what: str
    mend: str


class Lab(Protocol):
    """A running lab. `token` goes in the header `Authorization: Bearer …` of every request to `url`."""

    name: str
    backend: str
    url: str  # http://127.0.0.1:PORT
    token: str

    def alive(self) -> bool:
        """Whether it still runs. Cheap: no request is made."""

    def why_dead(self) -> str:
        """One sentence on how a dead lab ended; empty while it is alive."""

    def logs(self) -> dict[str, str]:
        """Text per log file (`agent.log`, `controller.log`), also after its end."""

    def down(self) -> None:
        """End it and all it holds, and return when it is gone. Doing so twice is fine."""


class Backend(Protocol):
    """A way to run labs on this machine."""

    name: str

    def missing(self) -> list[Missing]:
        """What keeps it from running here; empty when it can. Called in each run, so cheap."""

    def prepare(self, pox: Path | None) -> None:
        """Make what every lab needs and may take minutes, once: not part of any run's time. Raises LabError."""

    def up(self, name: str, pox: Path | None, keep: bool) -> Lab:
        """Bring up a lab whose agent and supervisor answer. `keep`: it outlives this process and is registered.

        pox: a checked-out folder of POX, or None. Raises LabError (one sentence), or UsageError: the name is taken."""

    def attach(self, entry: Entry) -> Lab:
        """The kept lab that a registry entry describes."""
