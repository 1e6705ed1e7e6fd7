"""What is shown while requests run: lines off a terminal, one bar on it."""

from __future__ import annotations

import io

import pytest

from lab.driver import progress
from lab.driver.progress import LiveScreen, PlainScreen, make_screen
from lab.driver.scenario import LoadStep
from lab.wire import Load, Request


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def step(requests: int | None = 4, duration_s: float | None = None) -> LoadStep:
    return LoadStep(
        load=Load(clients=("h3",), url="http://10.0.1.1/", requests=requests, duration_s=duration_s), service="web"
    )


def request(server: str | None) -> Request:
    error = None if server else "timed out"
    return Request(
        time=1.0, client="h3", local_port=1, server=server, status=200, connect_ms=1.0, total_ms=1.0, error=error
    )


def test_off_a_terminal_there_is_a_line_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    screen = PlainScreen(stream)
    screen.begin_round("rr", step())
    for server in ("h1", "h2", None, "h1"):
        now[0] += 0.4
        screen.request(request(server))
    screen.end_round()
    assert stream.getvalue().splitlines() == [
        "rr: 3/4 requests  h1 1  h2 1  1 failed",
        "rr: 4/4 requests  h1 2  h2 1  1 failed",
    ]


def test_off_a_terminal_nothing_moves() -> None:
    stream = io.StringIO()
    screen = make_screen(stream)
    screen.phase("bringing up")
    screen.say("backend sandbox")
    screen.close()
    assert stream.getvalue() == "backend sandbox\n"


def test_on_a_terminal_there_is_a_bar_that_goes_when_all_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    screen = make_screen(stream)
    assert isinstance(screen, LiveScreen)
    screen.phase("bringing up the lab")
    screen.begin_round("rr", step())
    for server in ("h1", "h2", "h1", None):
        screen.request(request(server))
    screen.say("said in between")
    screen.end_round()
    screen.close()
    text = stream.getvalue()
    assert "said in between" in text
    assert text.rstrip().endswith("\x1b[2K")  # the bar's line is wiped
    assert "\x1b[?25h" in text  # and the cursor is back


@pytest.mark.parametrize(("requests", "duration"), [(4, None), (None, 10.0), (4, 10.0)])
def test_a_round_by_time_alone_has_a_bar_too(
    requests: int | None, duration: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    running = progress._Round("rr", step(requests, duration))
    now[0] = 5.0
    running.add(request("h1"))
    assert running.part() == (0.5 if duration else 0.25)
