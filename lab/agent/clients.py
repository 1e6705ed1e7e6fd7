"""Runs the clients of a load: real curl processes (datagrams, for UDP) on the hosts, a record per finished request.

Closed model: `concurrency` workers, each takes the next request (dealt to the clients in turn), runs curl, takes the
next; with one worker the order is exact. Open model (`rate`): requests start at fixed times whatever the answers do,
and one that finds `concurrency` others in flight is dropped and counted. Keep-alive: one curl per client, with all of
the client's requests, at most `concurrency` of them at a time; where time ends the load, a few curls one after the
other, sized so that the last is done in time, because a request that is cut off would be counted by its server alone.
Rule: after `run` returns, no process of it is left.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit, urlunsplit

from lab import wire
from lab.agent import curl
from lab.agent.datagrams import Datagrams
from lab.agent.namespaces import Place
from lab.agent.privileges import as_nobody

FIRST_BATCH = 10  # requests on a client's first connection, when time ends the load: to know its rate
LONGEST_BATCH_S = 3600.0


@dataclass(frozen=True)
class Outcome:
    """How a load ended."""

    sent: int
    dropped: int


def client_of(load: wire.Load, number: int) -> str:
    """Who sends request `number` (from 0): clients take turns."""
    return load.clients[number % len(load.clients)]


def url_of(load: wire.Load, number: int) -> str:
    """What request `number` (from 0) asks: the ports of a range take turns."""
    if load.last_port is None:
        return load.url
    parts = urlsplit(load.url)
    first = parts.port or 80
    port = first + number % (load.last_port - first + 1)
    return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))


def shares(load: wire.Load) -> dict[str, int]:
    """How many requests each client sends on its one connection; endless where only time ends the load."""
    if load.requests is None:
        return dict.fromkeys(load.clients, curl.ENDLESS)
    each, more = divmod(load.requests, len(load.clients))
    dealt = {client: each + (i < more) for i, client in enumerate(load.clients)}
    return {client: count for client, count in dealt.items() if count}


def next_batch(rate: float, left_s: float) -> int:
    """How many requests to send on one connection when `rate` a second were answered and `left_s` are left."""
    return max(1, int(rate * min(left_s, LONGEST_BATCH_S) * 0.9)) if left_s > 0 else 1


class Run:
    """One load being run. `report` is called in worker threads, once per finished request."""

    def __init__(self, load: wire.Load, places: Mapping[str, Place], report: Callable[[wire.Request], None]) -> None:
        self._load = load
        self._places = places
        self._report = report
        self._lock = threading.Lock()
        self._over = threading.Event()  # start nothing more
        self._cancelled = False  # nobody wants to know how it ends
        self._children: set[subprocess.Popen[bytes]] = set()
        self._datagrams = Datagrams(load.timeout_s)
        self._dealt = self._sent = self._dropped = 0
        self._deadline = float("inf")

    def run(self) -> Outcome:
        """Blocks until the load is over; call it in a thread."""
        if self._load.duration_s is not None:
            self._deadline = time.monotonic() + self._load.duration_s
        if self._load.keepalive:
            self._run_keepalive()
        elif self._load.rate is not None:
            self._run_open(self._load.rate)
        else:
            self._run_closed()
        return Outcome(self._sent, self._dropped)

    def cancel(self) -> None:
        """Start nothing more, and kill what runs. May be called from any thread, at any time."""
        self._cancelled = True
        self._stop()

    def _stop(self) -> None:
        self._over.set()
        self._datagrams.cancel()
        with self._lock:
            for child in self._children:
                child.kill()

    # The three models

    def _run_closed(self) -> None:
        workers = self._load.concurrency
        if self._load.requests is not None:
            workers = min(workers, self._load.requests)
        _join(_started(self._work) for _ in range(workers))

    def _work(self) -> None:
        while (number := self._deal()) is not None:
            self._send(number)

    def _run_open(self, rate: float) -> None:
        begun = time.monotonic()
        free = threading.Semaphore(self._load.concurrency)
        threads: list[threading.Thread] = []

        def send(number: int) -> None:
            try:
                self._send(number)
            finally:
                free.release()

        while (number := self._deal(due=begun + self._dealt / rate)) is not None:
            if free.acquire(blocking=False):
                threads = [thread for thread in threads if thread.is_alive()]
                threads.append(_started(send, number))
            else:
                self._dropped += 1
        _join(threads)

    def _run_keepalive(self) -> None:
        waiting = list(shares(self._load).items())
        waiting.reverse()

        def work() -> None:
            while (share := self._next_of(waiting)) is not None:
                self._send_all(*share)

        workers = [_started(work) for _ in range(min(self._load.concurrency, len(waiting)))]
        if self._load.duration_s is None:
            _join(workers)
            return
        late = threading.Timer(self._load.duration_s + self._load.timeout_s, self._stop)  # servers have become slow
        late.start()
        _join(workers)
        late.cancel()

    def _send_all(self, client: str, share: int) -> None:
        """Send a client's requests, all at once, or as many at a time as are likely to be done before the deadline."""
        size = share if self._load.duration_s is None else FIRST_BATCH
        while share > 0 and not self._is_over():
            size = min(size, share)
            share -= size
            begun = time.monotonic()
            self._curl(client, self._load.url, size)
            now = time.monotonic()
            size = next_batch(size / (now - begun), self._deadline - now)

    def _next_of(self, waiting: list[tuple[str, int]]) -> tuple[str, int] | None:
        with self._lock:
            return waiting.pop() if waiting and not self._is_over() else None

    def _deal(self, due: float = 0.0) -> int | None:
        """The number of the next request, once it is due; None: no more are to be started."""
        wait = min(due, self._deadline) - time.monotonic()
        if wait > 0:
            self._over.wait(wait)
        with self._lock:
            if self._is_over() or self._dealt == self._load.requests:
                return None
            self._dealt += 1
            return self._dealt - 1

    def _is_over(self) -> bool:
        return self._over.is_set() or time.monotonic() >= self._deadline

    # One request, or one curl

    def _send(self, number: int) -> None:
        """Send request `number` and report it."""
        client, url = client_of(self._load, number), url_of(self._load, number)
        if not url.startswith("udp:"):
            self._curl(client, url)
            return
        request = self._datagrams.ask(client, self._places[client], url)
        if request is not None:
            self._finished(request)

    def _curl(self, client: str, url: str, repeat: int | None = None) -> None:
        """Run one curl and report its requests, and one more when it ends before they are done."""
        started, count = time.time(), 0
        try:
            child = self._places[client].popen(
                [*as_nobody(), *curl.command(url, self._load.timeout_s, repeat)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=curl.ENVIRONMENT,
            )
        except OSError as error:  # no process or descriptor is left: a request that fails, not one that vanishes
            self._finished(curl.not_started(client, started, error))
            return
        with child, self._watched(child):
            assert child.stdout is not None
            for request in curl.requests(client, _lines(child.stdout)):
                count += 1
                self._finished(request)
            code = child.wait()
        if count < (repeat or 1) and not self._cancelled:
            self._finished(curl.unanswered(client, started, code))

    def _finished(self, request: wire.Request) -> None:
        with self._lock:
            self._sent += 1
        self._report(request)

    def _watched(self, child: subprocess.Popen[bytes]) -> _Watched:
        return _Watched(self._lock, self._children, child, self._over)


class _Watched:
    """While inside, `child` is among those that `cancel` kills."""

    def __init__(
        self,
        lock: threading.Lock,
        children: set[subprocess.Popen[bytes]],
        child: subprocess.Popen[bytes],
        over: threading.Event,
    ) -> None:
        self._lock, self._children, self._child, self._over = lock, children, child, over

    def __enter__(self) -> None:
        with self._lock:
            self._children.add(self._child)
        if self._over.is_set():  # cancelled between its start and here
            self._child.kill()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._children.discard(self._child)


def _lines(stream: IO[bytes]) -> Iterable[str]:
    return (line.decode("utf-8", "replace") for line in iter(stream.readline, b""))


def _started(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


def _join(threads: Iterable[threading.Thread]) -> None:
    for thread in list(threads):
        thread.join()
