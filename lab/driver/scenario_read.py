"""From a scenario's tree to its completed model, or to all that is wrong with it in one go.

What pydantic refuses is reported, cut out of the tree, and the rest is read again: so a wrong type in one place does
not hide an unknown host in another. Rule: only the first reading reports; what follows from a cut is no mistake of the
user's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from lab.driver.scenario_checks import run_checks
from lab.driver.scenario_complete import complete
from lab.driver.scenario_findings import Finding
from lab.driver.scenario_model import ScenarioModel
from lab.driver.scenario_plan import Plan
from lab.driver.scenario_source import Node, Path, Place, Source
from lab.driver.wording import alternatives, nearest, quote

MAX_READINGS: Final = 20
ON_DEFAULTS: Final = frozenset(
    {"unknown-host", "client-server", "same-port", "subnet", "duplicate-ip", "duplicate-mac"}
)
# pydantic's error type → our sentence about the value, slug; {…} from the error's context
SENTENCES: Final[Mapping[str, tuple[str, str]]] = {
    "int_type": ("expected a whole number", "wrong-type"),
    "float_type": ("expected a number", "wrong-type"),
    "string_type": ("expected a text", "wrong-type"),
    "bool_type": ("expected true or false", "wrong-type"),
    "dict_type": ("expected a mapping", "wrong-type"),
    "model_type": ("expected a mapping", "wrong-type"),
    "model_attributes_type": ("expected a mapping", "wrong-type"),
    "list_type": ("expected a list", "wrong-type"),
    "finite_number": ("expected a finite number", "wrong-value"),
    "greater_than": ("must be above {gt:g}", "wrong-value"),
    "greater_than_equal": ("must be at least {ge}", "wrong-value"),
    "less_than": ("must be below {lt:g}", "wrong-value"),
    "less_than_equal": ("must be at most {le:g}", "wrong-value"),
    "too_short": ("must hold at least {min_length}", "wrong-value"),
    "too_long": ("must hold at most {max_length}", "wrong-value"),
}


def read_model(source: Source, root: Node, *, policy_asked: bool = False) -> ScenarioModel | None:
    """The completed model; None where anything is wrong, which then stands in source.problems."""
    had_problems = bool(source.problems)
    given, damaged = _read_what_can_be(source, root)
    if given is None:
        return None
    plan = Plan(given, complete(given), policy_asked, damaged)
    for finding in run_checks(plan):
        source.add(root.locate(finding.path, on_key=finding.on_key), _message(root, finding), finding.slug)
    return None if had_problems or source.problems else plan.model


def _message(root: Node, finding: Finding) -> str:
    """A mistake in what the user did not write says whose default it is."""
    if finding.slug in ON_DEFAULTS and not _is_given(root, finding.path):
        key = ".".join(step for step in finding.path if isinstance(step, str))
        return f"{finding.message} (by default: {quote(key)} is not given)"
    return finding.message


def _is_given(root: Node, path: Path) -> bool:
    node: Node | None = root
    for step in path:
        node = node.child(step) if node else None
    return node is not None


def _read_what_can_be(source: Source, root: Node) -> tuple[ScenarioModel | None, list[Path]]:
    damaged = list(_cut_broken(root, ()))
    for reading in range(MAX_READINGS):
        data, classes = root.plain(), dict[int, type[BaseModel]]()
        try:
            return ScenarioModel.model_validate(data, context=classes), damaged
        except ValidationError as error:
            mistakes = [_Mistake(root, data, classes, e) for e in error.errors(include_url=False, include_input=False)]
        meant = [path for mistake in mistakes for path in mistake.damage()]
        for mistake in mistakes:
            if reading == 0 and not (mistake.kind == "missing" and mistake.path in [*damaged, *meant]):
                source.add(*mistake.problem())
        damaged += meant
        if any(mistake.path == () for mistake in mistakes):
            break
        for mistake in sorted(mistakes, key=lambda m: [(isinstance(s, str), s) for s in m.path], reverse=True):
            _cut(root, mistake)
    return None, damaged


class _Mistake:
    """One error of pydantic's, seen from the tree."""

    def __init__(self, root: Node, data: Any, classes: Mapping[int, type[BaseModel]], error: Any) -> None:
        self.kind: str = error["type"]
        self.context: Mapping[str, Any] = error.get("ctx", {})
        self.text: str = error["msg"]
        self.on_key = error["loc"][-1:] == ("[key]",)
        self.path, self.holder = _real_path(data, error["loc"])
        self._root, self._classes = root, classes

    def problem(self) -> tuple[Place, str, str]:
        text, slug = self._sentence()
        return self._root.locate(self.path, on_key=self.on_key or self.kind == "extra_forbidden"), text, slug

    def damage(self) -> list[Path]:
        """An unknown key is likely meant to be the nearest known one: that is then not as the user wants it."""
        if self.kind == "missing":
            return [self.path[:-1]] if self.path[:-1] else []
        if self.kind != "extra_forbidden":
            return [self.path]
        near = nearest(str(self.path[-1]), self._known())
        return [(*self.path[:-1], near)] if near else []

    def _known(self) -> list[str]:
        found = self._classes.get(id(self.holder))
        return sorted(found.model_fields) if found else []

    def _sentence(self) -> tuple[str, str]:
        if self.kind == "extra_forbidden":
            key = str(self.path[-1])
            where = f" in {_label(self.path[:-1])}" if self.path[:-1] else ""
            return f"unknown key {quote(key)}{where}{alternatives(key, self._known())}", "unknown-key"
        if self.kind == "missing":
            where = f" in {_label(self.path[:-1])}" if self.path[:-1] else ""
            return f"{quote(self.path[-1])} is missing{where}", "missing-key"
        if self.kind in SENTENCES:
            text, slug = SENTENCES[self.kind]
            return f"{_label(self.path)}: {text.format(**self.context)}, found {self._found()}", slug
        if "-" in self.kind:  # our own
            found = f", found {self._found()}" if self.kind == "wrong-type" else ""
            return (f"{_label(self.path)}: {self.text}{found}" if found else self.text), self.kind
        return f"{_label(self.path)}: {self.text}", "wrong-value"

    def _found(self) -> str:
        value: Any = self._root.plain()
        for step in self.path:
            value = value[step]
        if value is None:
            return "nothing"
        if isinstance(value, (dict, list)):
            kind, count = ("a mapping", len(value)) if isinstance(value, dict) else ("a list", len(value))
            return f"{kind} of {count}" if count else f"an empty {kind[2:]}"
        if isinstance(value, bool):
            return "true" if value else "false"
        return quote(value) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _real_path(data: Any, steps: tuple[str | int, ...]) -> tuple[Path, Any]:
    """A pydantic location without its own marks (`@named`, `[key]`), and what holds its last step."""
    path: list[str | int] = []
    holder: Any = None
    value = data
    for step in steps:
        if isinstance(value, dict) and (step in value or not _is_mark(step)):
            holder, value = value, value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            holder, value = value, value[step]
        else:
            continue
        path.append(step)
    return tuple(path), holder


def _is_mark(step: str | int) -> bool:
    return isinstance(step, str) and bool(re.match(r"@|\[key\]$", step))


def _label(path: Path) -> str:
    """How a message names a value: its key, or its number in the list of that key."""
    key = next((step for step in reversed(path) if isinstance(step, str)), "the scenario")
    if path and isinstance(path[-1], int):
        return f"item {path[-1] + 1} of {quote(key)}"
    return quote(key) if path else key


def _cut_broken(node: Node, path: Path) -> Iterator[Path]:
    """Take out what could not be read; the paths of it."""
    if isinstance(node.value, dict):
        for key in list(node.value):
            yield from _cut_broken(node.value[key], (*path, key))
            if node.value[key].broken:
                del node.value[key]
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            yield from _cut_broken(item, (*path, index))
        node.value = [item for item in node.value if not item.broken]
    if node.broken:
        yield path


def _cut(root: Node, mistake: _Mistake) -> None:
    """Take the value out of the tree; with it whatever can't be without it."""
    path = mistake.path
    if mistake.kind == "missing":
        if path == ("name",):
            root.value["name"] = Node("unnamed", Place())
            return
        path = path[:-1]
    parent = root
    for step in path[:-1]:
        found = parent.child(step)
        if found is None:
            return
        parent = found
    if isinstance(parent.value, dict):
        parent.value.pop(path[-1], None)
    elif isinstance(parent.value, list) and isinstance(path[-1], int) and path[-1] < len(parent.value):
        del parent.value[path[-1]]
