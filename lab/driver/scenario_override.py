"""Options of the command line that change a scenario: `--set a.b=c`, `--policy`, `--mode`, `--engine`.

They act on the tree that was read, before any check: so what they bring is checked like the file's own, and a mistake
names the option. Rule: a short form (hosts: 6, servers: [h1]) opens where a path goes through it; nothing else is
changed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lab.driver.scenario_model import MAX_HOSTS
from lab.driver.scenario_source import Node, Path, Place, Source, names, read_yaml
from lab.driver.scenario_steps import Load
from lab.driver.wording import quote

# Where a short form or a default stands for a mapping: path → what holds when nothing is given
SHORT_FORMS: Final[Mapping[Path, Any]] = {
    ("services",): ["web"],
    ("services", "*", "servers"): ["h1", "h2"],
    ("topology", "hosts"): 6,
    ("topology", "switches"): 1,
}


def apply_sets(source: Source, root: Node, sets: Sequence[str]) -> None:
    """Apply each `key=value` in order; what is wrong with one goes to source.problems."""
    for text in sets:
        option = f"--set {text}"
        key, equals, value = text.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            source.add(
                Place(option=option), "expected a dotted key, = and a value, such as load.requests=400", "option"
            )
            continue
        node = _read_value(source, value, option)
        if node:
            _put(source, root, steps, node, option)


def apply_choices(source: Source, root: Node, choices: Mapping[str, str | None]) -> None:
    """`--policy` holds for every service, `--mode` and `--engine` for the controller."""
    for word in ("engine", "mode"):
        if value := choices.get(word):
            option = f"--{word} {value}"
            _put(source, root, ["controller", word], _scalar(value, option), option)
    if value := choices.get("policy"):
        option = f"--policy {value}"
        services = root.child("services")
        every = list(services.value) if services and isinstance(services.value, dict) else ["web"]
        for name in every:
            _put(source, root, ["services", name, "policy"], _scalar(value, option), option)


def _read_value(source: Source, value: str, option: str) -> Node | None:
    inner = Source(option, value)
    node = read_yaml(inner, option)
    source.problems += inner.problems
    return None if inner.problems else node or _scalar(None, option)


def _scalar(value: Any, option: str) -> Node:
    place = Place(option=option)
    return Node(value, place, place)


def _put(source: Source, root: Node, steps: Sequence[str], value: Node, option: str) -> None:
    node, path = root, tuple(steps)
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        _open(node, path[:index], option)
        if isinstance(node.value, dict):
            if last or step not in node.value:
                node.value[step] = value if last else _scalar(None, option)
                node.value[step].key = Place(option=option)
            node = node.value[step]
        elif isinstance(node.value, list) and step.isdecimal() and int(step[:9]) < len(node.value):
            if last:
                node.value[int(step)] = value
            node = node.value[int(step)]
        else:
            source.add(Place(option=option), _no_way(node, path[:index], step), "option")
            return


def _no_way(node: Node, path: Path, step: str) -> str:
    where = quote(".".join(map(str, path)))
    if isinstance(node.value, list):
        count = len(node.value)
        return (
            f"{where} is a list of {count}{f', numbered 0 to {count - 1}' if count else ''}: {quote(step)} is not in it"
        )
    return f"{where} is {quote(node.value)} here and has no key {quote(step)}"


def _open(node: Node, path: Path, option: str) -> None:
    """Turn a short form into the mapping it stands for."""
    short = next((form for key, form in SHORT_FORMS.items() if _matches(key, path)), None)
    if node.value is None and path == ("load", "clients"):  # a list, whose items have numbers
        node.value = [_scalar(name, option) for name in Load.model_fields["clients"].default]
    elif node.value is None:
        members = _members(short, path)
        node.value = {name: _scalar({} if path == ("services",) else None, option) for name in members}
    elif short is not None and isinstance(node.value, int) and not isinstance(node.value, bool):
        if 0 < node.value <= MAX_HOSTS:
            node.value = {name: Node(None, node.place, node.key) for name in _members(node.value, path)}
    elif isinstance(short, list) and isinstance(node.value, list) and len(names(node.value)) == len(node.value):
        node.value = {item.value: Node(None, item.place, item.place) for item in node.value}


def _matches(pattern: Path, path: Path) -> bool:
    return len(pattern) == len(path) and all(p in ("*", step) for p, step in zip(pattern, path))


def _members(short: Any, path: Path) -> Iterable[str]:
    if isinstance(short, int):
        letter = "h" if path[-1] == "hosts" else "s"
        return [f"{letter}{number}" for number in range(1, short + 1)]
    return short or []
