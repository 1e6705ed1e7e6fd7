"""A sandbox made ahead: an empty lab that comes up while this process still imports what reading a scenario needs.

Half of a bring-up depends on nothing that a scenario says (namespaces, agent, supervisor, Open vSwitch's daemons), and
so does half a second of imports; side by side they take a whole run's time down by a quarter of a second. Rule: it is a
guess. Nothing is raised or said here; where it was wrong the lab is gone before the command ends.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lab.driver import pox_supply
from lab.driver.backends import requirements
from lab.driver.backends.base import Backend
from lab.driver.backends.sandbox import SandboxBackend, SandboxLab
from lab.driver.errors import LabError, UsageError

OTHERS = ("docker", "docker-compose")  # commands without which no other backend can be meant by `auto`


class Ahead:
    """`with Ahead(…) as ahead:` around a command; `offer` it to the backend whose next lab it may be."""

    def __init__(self, backend: str, engine: str | None, *, keep: bool) -> None:
        """As the command line has them. keep: a lab that stays is made in another way, and so not ahead."""
        self._pox = None if engine == "osken" else pox_supply.at_hand()
        self._lab: SandboxLab | None = None
        if not keep and _is_sandbox(backend) and not requirements.missing():
            with suppress(LabError, UsageError, OSError):  # told where the lab is made that is waited for
                self._lab = SandboxBackend().start("ahead", self._pox)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._discard()

    def offer(self, backend: Backend) -> None:
        if isinstance(backend, SandboxBackend):
            backend.ahead = self

    def take(self, name: str, pox: Path | None) -> SandboxLab | None:
        """The lab, once, as that of `name`; None: there is none, or it is none for this `pox`."""
        lab = self._lab
        if lab is None or pox != self._pox or not lab.alive():
            self._discard()
            return None
        self._lab, lab.name = None, name
        return lab

    def _discard(self) -> None:
        lab, self._lab = self._lab, None
        if lab is not None:
            with suppress(LabError):
                lab.down()


def _is_sandbox(backend: str) -> bool:
    return backend == "sandbox" or (backend == "auto" and not any(map(shutil.which, OTHERS)))
