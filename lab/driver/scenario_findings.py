"""What a check says: which key or value of the scenario is wrong, and why.

Rule: a finding names a path of the model; where that stands in the file, or on the command line, the reader of the file
knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from lab.driver.wording import quote


class Finding(NamedTuple):
    path: tuple[str | int, ...]
    message: str
    slug: str
    on_key: bool = False  # points at the key, not at its value


def twice(what: str, values: Mapping[str, object], at: tuple[str | int, ...], key: str) -> Iterator[Finding]:
    """Each name in `values` whose value an earlier one has too."""
    first: dict[object, str] = {}
    for name, value in values.items():
        if value in first:
            yield Finding(
                (*at, name, key),
                f"{quote(name)} and {quote(first[value])} have the same {what} {value}",
                f"duplicate-{key}",
            )
        else:
            first[value] = name
