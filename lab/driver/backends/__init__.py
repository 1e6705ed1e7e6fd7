"""Where a lab runs: `choose` gives the backend that was asked for, or the best this machine has, and says why.

The one rule: only here are backends known by name. Compose is imported when it is wanted, with the libraries it needs.
"""

from __future__ import annotations

from lab.driver.backends import registry
from lab.driver.backends.base import Backend, Lab, Missing
from lab.driver.backends.registry import Entry
from lab.driver.errors import LabError, UsageError

NAMES = ("auto", "compose", "sandbox")

__all__ = ["NAMES", "Backend", "Entry", "Lab", "Missing", "attach", "choose", "down_all"]


def choose(name: str = "auto") -> tuple[Backend, str]:
    """The backend called `name` and the reason for it. Whether it can run here is for its `missing` to say."""
    if name == "auto":
        compose = _named("compose")
        gaps = compose.missing()
        if not gaps:
            return compose, "a Docker engine and Compose v2 answer"
        return _named("sandbox"), f"no compose here: {gaps[0].what}"
    return _named(name), "asked for"


def attach(entry: Entry) -> Lab:
    """The kept lab that a registry entry describes, whichever backend holds it."""
    return _named(entry.backend).attach(entry)


def down_all() -> list[str]:
    """End every kept lab, and what a killed driver left on the engine; gives their names.

    Raises LabError with a sentence for each lab that stays, when all others are down."""
    from lab.driver.backends.compose import ComposeBackend

    ended: list[str] = []
    errors: list[str] = []
    for entry in registry.entries():
        if entry.ready:
            try:
                attach(entry).down()
                ended.append(entry.name)
            except LabError as error:
                errors.append(str(error))
    ended += ComposeBackend().sweep()
    if errors:
        raise LabError("\n".join(errors))
    return ended


def _named(name: str) -> Backend:
    if name == "compose":
        from lab.driver.backends.compose import ComposeBackend

        return ComposeBackend()
    if name == "sandbox":
        from lab.driver.backends.sandbox import SandboxBackend

        return SandboxBackend()
    raise UsageError(f"no backend is called {name!r}: there are {', '.join(NAMES)}")
