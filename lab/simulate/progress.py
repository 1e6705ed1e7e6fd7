"""How far a simulation is: a bar on a terminal, else a line now and then. Always on stderr.

Rule: showing costs next to nothing and decides nothing; wall-clock time is only for when to show.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import IO, Any, Final

from lab.simulate.fleet import Advance

LINE_EVERY_S: Final = 5.0
DRAW_EVERY_S: Final = 0.1


class Progress:
    """`total`: the weights of all tasks. A context, so that the terminal is left as it was."""

    def __init__(self, total: float, stream: IO[str] | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._done = 0.0
        self._shown = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            text = TextColumn("{task.description}", markup=False)
            columns = (BarColumn(bar_width=30), TaskProgressColumn(), TimeRemainingColumn(), text)
            self._bar = Progress(*columns, console=Console(file=self._stream), transient=True)
            self._bar.add_task("", total=self._total)
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def task(self, title: str, weight: float, work: Callable[[Advance], None]) -> None:
        """Do `work`, which is told how to say how far it is."""
        self._show(title, self._done, force=self._bar is not None)
        work(lambda part: self._show(title, self._done + weight * part))
        self._done += weight

    def _show(self, title: str, done: float, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._shown < (DRAW_EVERY_S if self._bar else LINE_EVERY_S):
            return
        self._shown = now
        if self._bar is not None:
            self._bar.update(0, completed=done, description=title)
        else:
            print(f"{100 * done / self._total:3.0f} %  {title}", file=self._stream, flush=True)
