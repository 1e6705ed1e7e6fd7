"""A user's own policy: a class in a Python file, checked when it is loaded, and watched while it runs.

Rule: whatever the user's code does, no connection is lost by it. What is wrong with it is told by file, class and
method; where it fails to choose, round robin does.
"""

from __future__ import annotations

import difflib
import inspect
import random
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lab.balancer.health import Health, HealthSettings
from lab.balancer.policies.round_robin import RoundRobin
from lab.balancer.pool import Member

# name → its parameters behind self; what is called with them must be possible
REQUIRED: Final[Mapping[str, str]] = {"pool_changed": "live", "choose": "client_ip"}
OPTIONAL: Final[Mapping[str, str]] = {"live_changed": "member"}
FLAG: Final = "watches_live"  # unless it says no, it does: nothing else shows that `choose` reads `live`
TRIAL_CLIENTS: Final = (0x0A000003, 0x0A000004, 0x0A000003)


class PluginError(ValueError):
    """The plug-in can't be used; the text is one sentence that names file, class and method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A class in a Python file, with the file's source: where it is used, the file need not be."""

    file: str  # for messages only
    class_name: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.file}:{self.class_name}"


def is_plugin(policy: str) -> bool:
    """Whether a policy's name means a plug-in: path/to/file.py:ClassName."""
    return split_name(policy)[0].endswith(".py")


def split_name(policy: str) -> tuple[str, str]:
    """Path and class; the class is empty where none is named."""
    path, colon, class_name = policy.rpartition(":")
    return (path, class_name) if colon and not class_name.endswith(".py") else (policy, "")


def load(plugin: Plugin) -> Callable[[random.Random], Any]:
    """The plug-in's class, after a look at its methods and a trial. Raises PluginError."""
    cls = _find_class(plugin, _run_file(plugin))
    for method, parameter in REQUIRED.items():
        _check_method(plugin, cls, method, parameter, required=True)
    for method, parameter in OPTIONAL.items():
        _check_method(plugin, cls, method, parameter, required=False)
    _check_flag(plugin, cls)
    _try(plugin, cls)
    return cls


def _run_file(plugin: Plugin) -> dict[str, Any]:
    module = types.ModuleType("policy_plugin")
    module.__file__ = plugin.file
    try:
        exec(compile(plugin.source, plugin.file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{plugin.file} can't be loaded: {_what(error, plugin.file)}") from error
    return module.__dict__


def _find_class(plugin: Plugin, names: Mapping[str, Any]) -> type:
    found = names.get(plugin.class_name)
    if isinstance(found, type):
        return found
    own = sorted(n for n, v in names.items() if isinstance(v, type) and v.__module__ == "policy_plugin")
    near = difflib.get_close_matches(plugin.class_name, own, 1)
    meant = f": did you mean {near[0]}? known: " if near else "; known: "
    raise PluginError(f"{plugin.file} has no class {plugin.class_name!r}{meant}{', '.join(own) or 'none'}")


def _check_method(plugin: Plugin, cls: type, method: str, parameter: str, *, required: bool) -> None:
    wanted = f"{method}(self, {parameter})"
    found = getattr(cls, method, None)
    if found is None:
        if required:
            raise PluginError(f"{plugin.file}: class {cls.__name__} has no method {wanted}")
        return
    if not callable(found):
        raise PluginError(f"{plugin.file}: {cls.__name__}.{method} must be a method {wanted}")
    signature = inspect.signature(found)
    try:
        signature.bind(None, None)
    except TypeError:
        text = f"{plugin.file}: {cls.__name__}.{method}{signature} must be callable as {wanted}"
        raise PluginError(text) from None


def _check_flag(plugin: Plugin, cls: type) -> None:
    found = getattr(cls, FLAG, True)
    if not isinstance(found, bool):
        raise PluginError(f"{plugin.file}: {cls.__name__}.{FLAG} must be True or False, not {_show(found)}")
    if not found and getattr(cls, "live_changed", None) is not None:
        text = f"{cls.__name__} has live_changed, so it can't be with {FLAG} = False; leave one of them out"
        raise PluginError(f"{plugin.file}: {text}")


def _try(plugin: Plugin, cls: type) -> None:
    """A short life with two servers, then one: what is plainly wrong shows before anything is started."""
    pool = [
        Member(id=n, name=f"h{n}", ip=0x0A000000 + n, mac=n, health=Health(HealthSettings()), weight=n) for n in (1, 2)
    ]
    guarded = Guarded(plugin, cls, random.Random(1), raising=True)
    for live in (pool, pool[:1], pool[1:], [], pool):
        guarded.pool_changed(live)
        for client_ip in TRIAL_CLIENTS if live else ():
            chosen = guarded.choose(client_ip)
            chosen.watch = guarded.live_changed
            chosen.count_live(1)


class Guarded:
    """A plug-in's policy, and round robin for when it fails. `failures` counts; `told` gives each new report once."""

    def __init__(
        self, plugin: Plugin, cls: Callable[[random.Random], Any], rng: random.Random, *, raising: bool = False
    ) -> None:
        """Raises PluginError: the class can't be made. `raising`: every later failure, too."""
        self.failures = 0
        self._plugin = plugin
        self._raising = raising
        self._reports: list[str] = []
        self._substitute = RoundRobin(rng)
        self._live: dict[int, Member] = {}
        try:
            self._policy = cls(rng)
        except (Exception, SystemExit) as error:
            text = f"{plugin.file}: {plugin.class_name}(rng) can't be made: {_what(error, plugin.file)}"
            raise PluginError(text) from error
        self.watches_live: bool = getattr(cls, FLAG, True)
        wants = getattr(self._policy, "live_changed", None) is not None
        self.live_changed: Callable[[Member], None] | None = self._tell if wants else None

    def pool_changed(self, live: Sequence[Member]) -> None:
        self._live = {member.id: member for member in live}
        self._substitute.pool_changed(live)
        try:
            self._policy.pool_changed(tuple(live))
        except (Exception, SystemExit) as error:
            self._failed("pool_changed", _what(error, self._plugin.file))

    def choose(self, client_ip: int) -> Member:
        try:
            chosen = self._policy.choose(client_ip)
            member = self._live.get(getattr(chosen, "id", 0))
        except (Exception, SystemExit) as error:
            self._failed("choose", _what(error, self._plugin.file))
        else:
            if member is not None and member is chosen:
                return member
            self._failed("choose", f"it returned {_show(chosen)}, which is no live member")
        return self._substitute.choose(client_ip)

    def _tell(self, member: Member) -> None:
        try:
            self._policy.live_changed(member)
        except (Exception, SystemExit) as error:
            self._failed("live_changed", _what(error, self._plugin.file))

    def told(self) -> list[str]:
        """What is to be reported since the last call; a failure that goes on is told ever more rarely."""
        reports, self._reports = self._reports, []
        return reports

    def _failed(self, method: str, what: str) -> None:
        self.failures += 1
        where = f"{self._plugin.file}: {self._plugin.class_name}.{method}"
        if self._raising:
            raise PluginError(f"{where} fails in a trial: {what}")
        if self.failures & (self.failures - 1) == 0:  # the 1st, 2nd, 4th, 8th …: a log is no place for each of 10,000/s
            self._reports.append(f"{where} failed ({self.failures} times by now): {what}; round robin takes over")


def _what(error: BaseException, file: str) -> str:
    """The error and where in the user's file it comes from."""
    line = next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if f.filename == file), None)
    if isinstance(error, SyntaxError):
        line = error.lineno
        return f"{error.msg}, line {line}"
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return text if line is None else f"{text}, line {line}"


def _show(value: object) -> str:
    try:
        name = getattr(value, "name", None)
        return f"member {name!r}" if isinstance(value, Member) else f"{value!r:.80}"
    except Exception:  # even its repr may be broken
        return f"a {type(value).__name__}"
