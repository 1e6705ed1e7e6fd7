"""A sandbox made ahead: an empty lab that comes up while this process still imports what reading a scenario needs.

Half of a bring-up depends on nothing that a scenario says (namespaces, agent, supervisor, Open vSwitch's daemons), and
so does half a second of imports; side by side they take a whole run's time down by a quarter of a second. Rule: only
for what was right before, since of a wrong command nothing is started; and what isn't taken is gone before the command
ends.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType

from lab.driver.backends.base import Backend
from lab.driver.backends.former_runs import FormerRuns
from lab.driver.backends.sandbox import SandboxBackend, SandboxLab
from lab.driver.errors import LabError, LeftBehind, UsageError


class Ahead:
    """`with Ahead(…) as ahead:` around a command; `offer` it to the backend whose next lab it may be."""

    def __init__(self, former: FormerRuns, *, keep: bool) -> None:
        """keep: a lab that stays is made in another way, and so not ahead."""
        self._former = former
        self._pox: Path | None = None
        self._lab: SandboxLab | None = None
        self._asked = False  # for a lab
        known = None if keep else former.pox()
        if known is not None:
            (self._pox,) = known
            with suppress(LabError, UsageError, OSError):  # told where the lab is made that is waited for
                self._lab = SandboxBackend().start("ahead", self._pox)

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._discard()
        except LeftBehind as left:
            raise LeftBehind(f"{error}; {left}" if isinstance(error, (LabError, UsageError)) else str(left)) from error

    def offer(self, backend: Backend) -> None:
        if isinstance(backend, SandboxBackend):
            backend.ahead = self

    def take(self, name: str, pox: Path | None) -> SandboxLab | None:
        """The lab, once, as that of `name`; None: there is none, or it is none for this `pox`. Raises LeftBehind."""
        if not self._asked:
            self._asked = True
            self._former.remember(pox)
        lab = self._lab
        if lab is None or pox != self._pox or not lab.alive():
            self._discard()
            return None
        self._lab, lab.name = None, name
        return lab

    def _discard(self) -> None:
        lab, self._lab = self._lab, None
        if lab is not None:
            lab.down()
