"""Kept labs on disk: one file per lab, so that `--lab NAME`, `down` and `shell` find what was left running.

The folder is the user's alone (0700) and so are the entries (0600), since they hold the labs' tokens. An entry counts
only while the process it names lives; the rest are removed when seen. The one rule: what runs decides, not what is
written. An entry is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO

from lab.driver.backends.processes import identity, is_running
from lab.driver.errors import LabError, UsageError
from lab.driver.wording import alternatives, quote

LOGS = ("agent.log", "controller.log")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A kept lab. A lab without a process of its own (`pid` None: compose) counts until it is removed."""

    name: str
    backend: str
    url: str = ""
    token: str = ""
    pid: int | None = None  # ends with everything in the lab
    identity: str | None = None  # of that process, see `processes`
    scenario: str = ""
    started: float = 0.0  # Unix time (s)

    @property
    def alive(self) -> bool:
        return self.pid is None or (self.identity is not None and is_running(self.pid, self.identity))

    @property
    def ready(self) -> bool:
        """False while the lab is coming up: the name is taken, but there is nothing to speak to or to end."""
        return bool(self.url)


_FIELDS = {field.name for field in fields(Entry)}


def folder() -> Path:
    """The registry's folder, made if need be. Raises LabError where no place for it belongs to this user."""
    for path in _places():
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_uid == os.geteuid():
                path.chmod(0o700)
                return path
        except OSError:
            continue
    raise LabError("no folder for kept labs can be made: set XDG_RUNTIME_DIR to a folder that is yours")


def log_path(name: str, log: str) -> Path:
    """Where a kept lab writes the log called `log` (one of LOGS)."""
    return folder() / f"{name}.{log}"


def create_log(name: str, log: str) -> IO[bytes]:
    """A new, empty log of a kept lab, to write at its end and to read."""
    return open(os.open(log_path(name, log), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "r+b")


def claim(name: str, backend: str) -> Entry:
    """Reserve `name` for a lab that this process is bringing up. Raises UsageError: bad name, or a lab has it."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} can't name a lab: use letters, digits, dots, dashes and underscores")
    find(name)  # removes a stale entry
    entry = Entry(name=name, backend=backend, pid=os.getpid(), identity=identity(os.getpid()), started=time.time())
    scratch = _write_scratch(entry)
    try:
        os.link(scratch, _path(name))  # unlike rename it fails where the name is taken
    except FileExistsError:
        raise UsageError(f"a lab named {name} is already running: end it (down {name}) or take another name") from None
    finally:
        scratch.unlink()
    return entry


def save(entry: Entry) -> None:
    """Write an entry in place of the one of the same name."""
    _write_scratch(entry).replace(_path(entry.name))


def set_scenario(name: str, scenario: str) -> None:
    """Note which scenario a kept lab is running."""
    if entry := find(name):
        save(replace(entry, scenario=scenario))


def remove(name: str) -> None:
    """Forget a lab and delete its logs."""
    for path in (_path(name), *(log_path(name, log) for log in LOGS)):
        path.unlink(missing_ok=True)


def find(name: str) -> Entry | None:
    """The living lab of that name, be it still coming up."""
    return next((entry for entry in entries() if entry.name == name), None)


def newest() -> Entry | None:
    """The lab started last: the one meant where none is named."""
    return next((entry for entry in entries() if entry.ready), None)


def named(name: str | None) -> Entry:
    """The living lab of that name; None: the newest. Raises UsageError where there is none."""
    if entry := find(name) if name else newest():
        return entry
    running = [entry.name for entry in entries()]
    if name and running:
        raise UsageError(f"no lab is called {quote(name)}{alternatives(name, running)}")
    raise UsageError("no lab is running: start one with `up`")


def entries() -> list[Entry]:
    """All living labs, the newest first. Entries of dead ones are removed on the way."""
    return sorted(_living(), key=lambda entry: entry.started, reverse=True)


def _living() -> Iterator[Entry]:
    for path in folder().glob("*.json"):
        entry = _read(path)
        if entry is not None and entry.alive:
            yield entry
        else:
            remove(path.stem)


def _read(path: Path) -> Entry | None:
    try:
        data = json.loads(path.read_text())
        return Entry(**{key: data[key] for key in data if key in _FIELDS})  # a newer kit's entry may hold more
    except (OSError, ValueError, TypeError):
        return None


def _write_scratch(entry: Entry) -> Path:
    scratch = folder() / f".{entry.name}.{os.getpid()}"
    scratch.unlink(missing_ok=True)
    with open(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(entry), file)
    return scratch


def _path(name: str) -> Path:
    return folder() / f"{name}.json"


def _places() -> Iterator[Path]:
    """Folders to try, best first. Another user's (XDG_RUNTIME_DIR kept by `sudo -E`) is passed over."""
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}"):
        with contextlib.suppress(OSError):
            if os.path.isabs(parent) and os.stat(parent).st_uid == os.geteuid():
                yield Path(parent, "balance-lab")
    with contextlib.suppress(RuntimeError):  # no home folder
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "balance-lab", "labs")
