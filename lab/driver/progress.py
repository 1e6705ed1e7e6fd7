"""What the user sees while a run runs: a live bar on a terminal, else a plain line per second. Always on stderr.

Rule: showing never decides anything and never costs a run its verdict; it is told of each request and keeps counts.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, cast

if TYPE_CHECKING:
    from lab.driver.scenario import LoadStep
    from lab.wire import Request

LINE_EVERY_S: Final = 1.0
DRAW_EVERY_S: Final = 0.1  # the live bar is drawn at most this often
SERVERS_SHOWN: Final = 4


class Screen(Protocol):
    def say(self, text: str) -> None:
        """One line for good."""

    def phase(self, text: str) -> None:
        """What is being done now; gone when the next thing is."""

    def begin_round(self, title: str, step: LoadStep) -> None: ...

    def request(self, request: Request) -> None: ...

    def end_round(self) -> None: ...

    def close(self) -> None:
        """Also after an error: the terminal is as it was before."""


def make_screen(stream: IO[str] | None = None) -> Screen:
    """The live screen where `stream` (stderr) is a terminal, else plain lines."""
    stream = stream or sys.stderr
    lasting = cast("IO[str]", _Lasting(stream))
    return LiveScreen(lasting) if stream.isatty() else PlainScreen(lasting)


class _Lasting:
    """A stream that nobody may read any more, a closed terminal or pipe: the run goes on, and its end tells."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Round:
    """Counts of the round that runs."""

    def __init__(self, title: str, step: LoadStep) -> None:
        self.title = title
        self.requests = step.load.requests
        self.duration_s = step.load.duration_s
        self.began = time.monotonic()
        self.done = self.failed = 0
        self.hits: Counter[str] = Counter()

    def add(self, request: Request) -> None:
        self.done += 1
        self.failed += not request.ok
        if request.ok and request.server:
            self.hits[request.server] += 1

    def part(self) -> float:
        """How much of the round is done, 0 to 1."""
        by_count = self.done / self.requests if self.requests else 0.0
        by_time = (time.monotonic() - self.began) / self.duration_s if self.duration_s else 0.0
        return min(1.0, max(by_count, by_time))

    def describe(self) -> str:
        total = f"/{self.requests}" if self.requests else ""
        shown = [f"{server} {count}" for server, count in sorted(self.hits.most_common(SERVERS_SHOWN))]
        if len(self.hits) > SERVERS_SHOWN:
            shown.append("…")
        if self.failed:
            shown.append(f"{self.failed} failed")
        return "  ".join([f"{self.done}{total} requests", *shown])


class PlainScreen:
    """Lines only: for logs, pipes and CI."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._round: _Round | None = None
        self._next_line = 0.0

    def say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def phase(self, text: str) -> None:
        pass

    def begin_round(self, title: str, step: LoadStep) -> None:
        self._round = _Round(title, step)
        self._next_line = time.monotonic() + LINE_EVERY_S

    def request(self, request: Request) -> None:
        if self._round is None:
            return
        self._round.add(request)
        if time.monotonic() >= self._next_line:
            self.say(f"{self._round.title}: {self._round.describe()}")
            self._next_line = time.monotonic() + LINE_EVERY_S

    def end_round(self) -> None:
        if self._round is not None:
            self.say(f"{self._round.title}: {self._round.describe()}")
        self._round = None

    def close(self) -> None:
        self._round = None


class LiveScreen:
    """A spinner for each phase and a bar for each round, drawn in place. rich is imported at the first of them."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._progress: Any = None
        self._task: Any = None
        self._round: _Round | None = None
        self._next_draw = 0.0

    def say(self, text: str) -> None:
        if self._progress is None:
            print(text, file=self._stream, flush=True)
        else:
            self._progress.console.print(text, markup=False, highlight=False)

    def phase(self, text: str) -> None:
        self._show(text, None)

    def begin_round(self, title: str, step: LoadStep) -> None:
        self._round = _Round(title, step)
        self._show(title, 1.0)

    def request(self, request: Request) -> None:
        if self._round is None:
            return
        self._round.add(request)
        if time.monotonic() >= self._next_draw:
            self._draw(self._round)
            self._next_draw = time.monotonic() + DRAW_EVERY_S

    def end_round(self) -> None:
        if self._round is not None:
            self._draw(self._round)
        self._round = None

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._round = None

    def _draw(self, running: _Round) -> None:
        self._progress.update(self._task, completed=running.part(), detail=running.describe())

    def _show(self, text: str, total: float | None) -> None:
        if self._progress is None:
            self._start()
        self._progress.reset(self._task, total=total, description=text, detail="")

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[detail]}", markup=False),
            console=Console(file=self._stream),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, detail="")
        self._progress.start()
