"""What curl is asked, and what its words mean: a command line out, `wire.Request`s in. No process is started here.

curl writes an answer's headers to standard output and, behind each request, one line of figures to standard error,
which it never buffers; both go into one pipe, so a request is known the moment it is over, also when many share a
connection. All options are in curl 7.75 (Ubuntu 22.04 has 7.81). Rule: whatever curl says, one request is one record.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit, urlunsplit

from lab import wire

CURL = "/usr/bin/curl"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "OPENSSL_CONF": "/dev/null"}  # no TLS: don't read its settings
MARK = "lab-request"
FIELDS = ("local_port", "http_code", "time_connect", "time_total", "num_connects", "exitcode", "errormsg")
FORMAT = "%{stderr}" + MARK + "".join(f"\\t%{{{field}}}" for field in FIELDS) + "\\n"
SENTENCES = {  # of exit codes that come without curl's own words
    5: "the proxy's name could not be resolved",
    6: "the server's name could not be resolved",
    7: "the connection was refused, or nobody answered",
    18: "the server closed the connection before the whole answer had come",
    23: "what was received could not be written",
    27: "curl ran out of memory",
    28: "no answer in time",
    52: "the server closed the connection without an answer",
    55: "the connection broke while the request was sent",
    56: "the connection broke while the answer was received",
}
ENDLESS = 10_000_000  # requests on one connection when only time ends the load


def command(url: str, timeout_s: float, repeat: int | None = None) -> list[str]:
    """The command line for one request, or for `repeat` requests one after the other on one connection."""
    limit = f"{timeout_s:.3f}"
    options = [CURL, "-q", "-s", "--noproxy", "*", "-o", "/dev/null", "-D", "-", "-w", FORMAT, "--max-time", limit]
    if repeat is None:
        return [*options, "-g", "--", _without_fragment(url)]
    # curl repeats a URL for each number in brackets; a fragment is never sent, so all requests are the same
    return [*options, "--", f"{_literal(_without_fragment(url))}#[1-{repeat}]"]


def _without_fragment(url: str) -> str:
    return urlunsplit(urlsplit(url)._replace(fragment=""))


def _literal(url: str) -> str:
    """Quote what curl would take for a pattern; brackets around an IPv6 address it knows itself."""
    parts = urlsplit(url)
    quoted = {ord(c): f"%{ord(c):02X}" for c in "[]{}"}
    return urlunsplit(parts._replace(path=parts.path.translate(quoted), query=parts.query.translate(quoted)))


def requests(client: str, lines: Iterable[str]) -> Iterator[wire.Request]:
    """Read curl's output line by line; yields a record as soon as its request is over."""
    server: str | None = None
    for line in lines:
        name, _, value = line.partition(":")
        if line.startswith(MARK + "\t"):
            yield _request(client, server, line.rstrip("\n").split("\t")[1:])
            server = None
        elif name.lower() == "x-server":
            server = value.strip()


def _request(client: str, server: str | None, values: list[str]) -> wire.Request:
    figures = dict(zip(FIELDS, values))
    status, port = int(figures["http_code"]), int(figures["local_port"])
    connect, total = float(figures["time_connect"]), float(figures["time_total"])
    new = figures["num_connects"] != "0"
    return wire.Request(
        time=time.time() - total,
        client=client,
        local_port=port if port > 0 else None,
        server=server,
        status=status or None,
        connect_ms=round(connect * 1000, 3) if new and connect > 0 else None,
        total_ms=round(total * 1000, 3),
        error=_error(status, figures["exitcode"], figures["errormsg"]),
    )


def _error(status: int, exit_code: str, sentence: str) -> str | None:
    if exit_code != "0":
        return sentence or _sentence(int(exit_code))
    return f"HTTP {status}" if status >= 400 else None


def _sentence(exit_code: int) -> str:
    if exit_code < 0:
        return f"curl was killed by signal {-exit_code}"
    return SENTENCES.get(exit_code, f"curl ended with exit code {exit_code} and said nothing")


def not_started(client: str, started: float, error: OSError) -> wire.Request:
    """The request of a curl that the system could not start."""
    return wire.Request(
        time=started,
        client=client,
        local_port=None,
        server=None,
        status=None,
        connect_ms=None,
        total_ms=0.0,
        error=f"curl could not be started: {error.strerror or error}",
    )


def unanswered(client: str, started: float, exit_code: int) -> wire.Request:
    """The record of a request whose curl ended without a word (it was killed, or could not run)."""
    total = round((time.time() - started) * 1000, 3)
    return wire.Request(
        time=started,
        client=client,
        local_port=None,
        server=None,
        status=None,
        connect_ms=None,
        total_ms=total,
        error=_sentence(exit_code),
    )
