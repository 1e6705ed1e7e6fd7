"""What a bench was asked to do, read and checked before anything starts. Rule: a mistake is one UsageError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lab.driver.errors import UsageError
from lab.driver.wording import quote

MAX_CONCURRENCY: Final = 1024
MAX_SECONDS: Final = 600
MAX_ROUNDS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    variants: tuple[str, ...] | None = None  # None: all
    rounds: int = 5
    seconds: int = 2  # of each measurement
    concurrency: tuple[int, ...] = (1, 16, 64, 256)
    bulk: bool = True

    def __post_init__(self) -> None:
        _between("--rounds", self.rounds, 1, MAX_ROUNDS)
        _between("--seconds", self.seconds, 1, MAX_SECONDS)
        for number in self.concurrency:
            _between("--concurrency", number, 1, MAX_CONCURRENCY)


def read_concurrency(text: str) -> tuple[int, ...]:
    """`1,16,64` as numbers, each once."""
    words = _words(text)
    for word in words:
        if not word.isdecimal():
            raise UsageError(f"--concurrency {quote(text)}: {quote(word)} is no number; numbers look like 1,16,64,256")
    if not words:
        raise UsageError("--concurrency needs at least one number, like 16")
    return tuple(dict.fromkeys(map(int, words)))


def read_variants(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    if not (words := _words(text)):
        raise UsageError("--variants needs at least one name, like direct,pox-tracked")
    return tuple(dict.fromkeys(words))


def _words(text: str) -> Sequence[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _between(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} {value} is not between {low} and {high}")
