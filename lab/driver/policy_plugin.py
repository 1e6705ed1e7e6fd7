"""A scenario's own policies: `policy: ./my_policy.py:Mine`, found beside the scenario, checked, and sent along.

Rule: a plug-in's path is absolute from the moment the scenario is read, so that what a run writes down finds it again;
only people are shown the short form.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lab import wire
from lab.balancer.policies.plugin import Plugin, PluginError, is_plugin, load, split_name
from lab.driver.scenario_source import Node

MAX_BYTES: Final = 200_000  # the source travels with the configuration


def make_absolute(root: Node, folder: Path) -> None:
    """Every service's plug-in in a scenario's tree: relative to the scenario's folder, or to the current one where the
    command line has named it."""
    services = root.child("services")
    for service in services.value.values() if services and isinstance(services.value, dict) else ():
        node = service.child("policy")
        if node and isinstance(node.value, str) and is_plugin(node.value):
            path, class_name = split_name(node.value)
            absolute = os.path.abspath(os.path.join("" if node.place.option else folder, os.path.expanduser(path)))
            node.value = f"{absolute}:{class_name}" if class_name else absolute


def check(policy: str) -> None:
    """Raises PluginError, one sentence, unless the plug-in can be used."""
    path, class_name = split_name(policy)
    load(Plugin(file=_shown(path), class_name=class_name, source=_source(path)))


def to_send(policies: Iterable[str]) -> tuple[wire.Plugin, ...]:
    """What the controller needs of those policies that are plug-ins. Raises PluginError."""
    names = short_names(policies)
    return tuple(
        wire.Plugin(name=name, file=name.rpartition(":")[0], class_name=split_name(policy)[1], source=_source(path))
        for policy, name in names.items()
        if is_plugin(policy)
        for path in (split_name(policy)[0],)
    )


def short_names(policies: Iterable[str]) -> dict[str, str]:
    """Policy → what people are shown: the file's name without its folder, unless two would be called the same."""
    whole = list(dict.fromkeys(policies))
    short = [f"{Path(split_name(p)[0]).name}:{split_name(p)[1]}" if is_plugin(p) else p for p in whole]
    return {p: s if short.count(s) == 1 else p for p, s in zip(whole, short)}


def _source(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte
        why = error.strerror if isinstance(error, OSError) else error
        raise PluginError(f"the policy {_shown(path)} can't be read: {why}") from None
    if len(data) > MAX_BYTES:
        raise PluginError(f"the policy {_shown(path)} is too big: more than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PluginError(f"the policy {_shown(path)} is no text in UTF-8") from None


def _shown(path: str) -> str:
    try:
        return min(path, os.path.relpath(path), key=len)
    except (OSError, ValueError):  # the current folder is gone, or a null byte
        return path
