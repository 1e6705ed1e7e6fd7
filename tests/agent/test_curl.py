"""curl's words become records."""

from __future__ import annotations

import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import wire
from lab.agent import curl

ANSWER = ["HTTP/1.1 200 OK\r\n", "X-Server: h1\r\n", "\r\n"]


def figures(port: int = 40001, status: str = "200", connect: str = "0.001", new: int = 1, code: int = 0) -> str:
    error = "Connection timed out" if code else ""
    return f"{curl.MARK}\t{port}\t{status}\t{connect}\t0.0025\t{new}\t{code}\t{error}\n"


def only(lines: list[str]) -> wire.Request:
    (request,) = curl.requests("h3", lines)
    return request


def test_an_answer_says_who_gave_it_and_how_long_it_took() -> None:
    request = only([*ANSWER, figures()])
    assert (request.client, request.server, request.status, request.local_port) == ("h3", "h1", 200, 40001)
    assert (request.connect_ms, request.total_ms, request.ok) == (1.0, 2.5, True)


def test_a_request_on_an_open_connection_has_no_handshake() -> None:
    assert only([*ANSWER, figures(new=0)]).connect_ms is None


def test_a_status_of_400_or_more_is_an_error() -> None:
    assert only([figures(status="503")]).error == "HTTP 503"


def test_no_answer_is_curls_own_sentence() -> None:
    request = only([figures(port=0, status="000", connect="0.000000", code=28)])
    assert (request.status, request.local_port, request.connect_ms) == (None, None, None)
    assert request.error == "Connection timed out"


def test_a_servers_name_is_not_taken_for_the_next_requests() -> None:
    first, second = curl.requests("h3", [*ANSWER, figures(), "HTTP/1.1 200 OK\r\n", figures()])
    assert (first.server, second.server) == ("h1", None)


def test_a_record_is_there_as_soon_as_its_request_is_over() -> None:
    def lines() -> object:
        yield from [*ANSWER, figures()]
        raise AssertionError("read beyond the first request")

    assert next(curl.requests("h3", lines())).server == "h1"  # type: ignore[arg-type]


@given(st.lists(st.text(), max_size=20))
def test_no_header_breaks_the_reader(headers: list[str]) -> None:
    list(curl.requests("h3", [header for header in headers if not header.startswith(curl.MARK)]))


@pytest.mark.parametrize("repeat", [None, 3])
def test_curl_understands_its_command_line(repeat: int | None) -> None:
    done = subprocess.run(
        curl.command("http://127.0.0.1:1/a{b}[1-2]?c=[d]#e", 1.0, repeat),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=curl.ENVIRONMENT,
    )
    found = list(curl.requests("h3", done.stdout.splitlines(keepends=True)))
    assert len(found) == (repeat or 1)
    assert all("connect" in (request.error or "") for request in found)


@pytest.mark.parametrize(
    ("exit_code", "sentence"),
    [
        (7, "the connection was refused, or nobody answered"),
        (28, "no answer in time"),
        (56, "the connection broke while the answer was received"),
        (-9, "curl was killed by signal 9"),
        (99, "curl ended with exit code 99 and said nothing"),
    ],
)
def test_an_exit_code_without_curls_own_words_is_a_sentence(exit_code: int, sentence: str) -> None:
    assert curl.unanswered("h3", time.time(), exit_code).error == sentence
