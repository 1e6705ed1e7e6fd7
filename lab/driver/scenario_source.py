"""A scenario's text as a tree in which every key and value knows its place, and the mistakes found at those places.

Plain words are read as YAML 1.2 reads them: `no`, `on` and 10:00:00:00:00:01 are texts, no truth values or numbers.
Rule: a place is kept to the last check, so that each message can show the line it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import yaml

from lab.driver.wording import printable, quote

MAX_DEPTH: Final = 30  # levels of nesting: far beyond any scenario, far below Python's recursion limit
MAX_NODES: Final = 50_000  # values, aliases counted each time: an alias of aliases must not eat the memory
MAX_DIGITS: Final = 40
SHOWN_COLUMNS: Final = 160  # of a source line in a message
_LINE_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # as PyYAML counts lines
_TAG: Final = "tag:yaml.org,2002:"

Path = tuple[str | int, ...]


class Place(NamedTuple):
    """Where something stands: lines and columns from 1; or the command line's option, as typed."""

    line: int = 1
    column: int = 1
    length: int = 0
    option: str = ""


WHOLE: Final = Place()  # the file as such: no line to show


class Problem(NamedTuple):
    place: Place
    message: str
    slug: str


@dataclass(slots=True)
class Node:
    """A value (scalar, dict of Nodes or list of Nodes), its place, and its key's where it has one."""

    value: Any
    place: Place
    key: Place | None = None
    broken: bool = False  # not readable, and reported: to be left out

    def plain(self) -> Any:
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, step: str | int) -> Node | None:
        """The value at a key or index; a name also finds itself in a list, where the filled model has a mapping."""
        if isinstance(self.value, dict):
            found = self.value.get(step)
            return found if isinstance(found, Node) else None
        if isinstance(self.value, list) and isinstance(step, int):
            return self.value[step] if step < len(self.value) else None
        if isinstance(self.value, list):
            return next((node for node in self.value if node.value == step), None)
        return None

    def locate(self, path: Path, *, on_key: bool = False) -> Place:
        """The place of the value (or its key) at `path`, or of the nearest that is really there."""
        node = self
        for index, step in enumerate(path):
            found = node.child(step)
            if found is None:
                on_key = node is not self or index > 0
                break
            node = found
        if node is self:
            return WHOLE
        if node.key and (on_key or isinstance(node.value, (dict, list))):
            return node.key
        return node.place


@dataclass
class Source:
    """The text of a scenario, what was read from it, and all that is wrong with it."""

    name: str  # as messages show it
    text: str = ""
    problems: list[Problem] = field(default_factory=list)

    def add(self, place: Place, message: str, slug: str) -> None:
        self.problems.append(Problem(place, message, slug))

    def report(self) -> str:
        """All problems, each once, in file order, those of the command line's options last."""
        unique = dict.fromkeys(self.problems)
        ordered = sorted(unique, key=lambda p: (bool(p.place.option), p.place.line, p.place.column))
        lines = _LINE_BREAK.split(self.text)
        return "\n".join(line for problem in ordered for line in self._show(problem, lines))

    def _show(self, problem: Problem, lines: list[str]) -> Iterator[str]:
        place, message, slug = problem
        if place.option:
            yield printable(f"{place.option}: {message} [{slug}]")
            return
        yield printable(f"{self.name}:{place.line}:{place.column}: {message} [{slug}]")
        yield from _snippet(lines[place.line - 1] if place.line <= len(lines) else "", place)


def _snippet(line: str, place: Place) -> Iterator[str]:
    shown = "".join(c if c.isprintable() else " " for c in line[:SHOWN_COLUMNS]).rstrip()
    if not shown or not place.length or place.column > len(shown) + 1:
        return
    length = min(place.length, len(shown) - place.column + 1)
    head = f"{place.line} | "
    yield head + shown
    yield f"{' ' * (len(head) - 2)}| {' ' * (place.column - 1)}^{'~' * (length - 1)}"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (PyYAML's own way; filled below)


_WORDS: Final = (  # YAML 1.2, core schema: tag, form, first characters
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class _Dumper(yaml.SafeDumper):
    """Puts in quotes whatever either version of YAML would take for something else than a text."""


for _name, _form, _first in _WORDS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_form})$"), _first)


def write_yaml(data: Any) -> str:
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    return text


def read_yaml(source: Source, option: str = "") -> Node | None:
    """The tree of `source.text`; None where it is no YAML or empty. `option`: the text is the value of that option."""
    try:
        root = yaml.compose(source.text, Loader=_Loader)
    except RecursionError:
        source.add(Place(option=option), "nested too deeply", "yaml")
        return None
    except yaml.YAMLError as error:
        source.add(*_yaml_problem(error, source.text, option))
        return None
    return _Reader(source, option).read(root) if root else None


def _yaml_problem(error: yaml.YAMLError, text: str, option: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = _LINE_BREAK.split(text[: error.position])
        message = f"a character that no YAML file may hold: U+{error.character:04X}"
        return Problem(Place(len(before), len(before[-1]) + 1, 1, option), message, "yaml")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = Place(mark.line + 1, mark.column + 1, 1, option) if mark else Place(option=option)
    words = [getattr(error, "context", None), getattr(error, "problem", None)]
    message = re.sub(r"\s+", " ", ", ".join(word for word in words if word)) or "not understood"
    begun = getattr(error, "context_mark", None)
    if begun and mark and begun.line != mark.line and not option:
        message += f" (begun in line {begun.line + 1})"
    if "'\\t'" in message:
        message += " (indent with spaces, not tabs)"
    return Problem(place, f"not YAML: {message}", "yaml")


class _Unreadable(Exception):
    """A value that can't be taken over; the text says why."""


class _Reader:
    """PyYAML's nodes to ours; notes duplicate keys, odd keys and odd tags on the way."""

    def __init__(self, source: Source, option: str) -> None:
        self._source, self._option = source, option
        self._count = 0
        self._open: list[yaml.Node] = []  # those that we are in

    def read(self, node: yaml.Node, key: Place | None = None, depth: int = 0) -> Node:
        place = self._place(node)
        self._count += 1
        try:
            return Node(self._value(node, depth), place, key)
        except _Unreadable as error:
            self._source.add(place, str(error), "yaml")
            return Node(None, place, key, broken=True)

    def _place(self, node: yaml.Node) -> Place:
        start, end = node.start_mark, node.end_mark
        length = end.column - start.column if end.line == start.line else SHOWN_COLUMNS
        return Place(start.line + 1, start.column + 1, max(length, 1), self._option)

    def _value(self, node: yaml.Node, depth: int) -> Any:
        tag = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node.value, tag)
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            raise _Unreadable("too much here: nested too deeply, or aliases of aliases")
        if node in self._open:
            raise _Unreadable("an alias inside of what it stands for")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and tag == "map":
                return self._mapping(node, depth)
            if isinstance(node, yaml.SequenceNode) and tag == "seq":
                return [self.read(item, None, depth + 1) for item in node.value]
        finally:
            self._open.pop()
        raise _Unreadable(f"a tag has no meaning here: {quote(node.tag)}")

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for key_node, value_node in node.value:
            key_place = self._place(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._source.add(key_place, "a key must be a single word", "yaml")
                continue
            key, value = key_node.value, self.read(value_node, key_place, depth + 1)
            if key in found:
                first = found[key].key
                where = f" (first in line {first.line})" if first and not self._option else ""
                self._source.add(key_place, f"duplicate key {quote(key)}{where}", "duplicate-key")
            else:
                found[key] = value
        return found


def _scalar(text: str, tag: str) -> Any:
    if tag == "str":
        return text
    kind = next((name for name, form, _ in _WORDS if name == tag and re.fullmatch(form, text)), None)
    if kind is None and tag == "float" and re.fullmatch(_WORDS[2][1], text):
        kind = "float"  # `!!float 5`
    if kind is None:
        raise _Unreadable(f"a tag has no meaning here: {quote(tag)}")
    if kind == "int" and len(text) > MAX_DIGITS:
        raise _Unreadable("a number with too many digits")
    return _convert(kind, text)


def _convert(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "float":
        return float(re.sub(r"\.(?=[a-zA-Z])", "", text))  # .inf, .nan
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


def names(nodes: Iterable[Node]) -> list[str]:
    """The texts among `nodes`: a list of names."""
    return [node.value for node in nodes if isinstance(node.value, str)]
