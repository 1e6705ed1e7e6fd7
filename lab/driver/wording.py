"""Words that all messages about a user's input share: quoting, lists, the nearest right word.

Rule: any text in, one printable line out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LISTED = 12  # more names than this are cut short


def printable(text: str) -> str:
    """`text` on one line, unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(text: object) -> str:
    """`text` in double quotes, printable, cut when long."""
    shown = printable(str(text)[:60])
    return f'"{shown}…"' if len(str(text)) > 60 else f'"{shown}"'


def listing(names: Iterable[object]) -> str:
    every = [str(name) for name in names]
    if len(every) <= LISTED:
        return ", ".join(every)
    return f"{', '.join(every[: LISTED - 2])}, …, {every[-1]} ({len(every)})"


def nearest(word: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word[:60], list(known), n=1)), None)


def alternatives(word: str, known: Iterable[str]) -> str:
    """The tail of an "unknown …" message: `: did you mean "x"? known: x, y`."""
    every = list(known)
    near = nearest(word, every)
    return (f": did you mean {quote(near)}? known: " if near else "; known: ") + listing(every)
