"""Times whole connections beside a load, run on a host as a script of its own; prints what it has seen as JSON.

    /usr/bin/python3 -I -S sampler.py IP PORT COUNT EVERY_S

Each sample is a connection with one request, timed from connect() until the server has closed it, so a handshake that
stalls shows in full. With EVERY_S > 0 samples start at fixed times whatever became of the earlier ones; with 0, one
after the other. Rule: a sample that gets no whole answer within PATIENCE_S is an error, never a figure.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import sys
import time

PATIENCE_S = 3.0
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class Sample:
    """One connection on its way."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self.began = time.perf_counter()
        self.answered = False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(address)
        selector.register(self.socket, selectors.EVENT_WRITE, self)

    def go_on(self, selector: selectors.BaseSelector, mask: int) -> bool:
        """Whether it is over. Raises OSError: it failed."""
        if mask & selectors.EVENT_WRITE:
            self.socket.send(REQUEST)
            selector.modify(self.socket, selectors.EVENT_READ, self)
            return False
        data = self.socket.recv(65_536)
        self.answered = self.answered or data.startswith(b"HTTP/1.1 200")
        return not data


class Sampler:
    def __init__(self, address: tuple[str, int], count: int, every_s: float) -> None:
        self._address, self._count, self._every_s = address, count, every_s
        self._selector = selectors.DefaultSelector()
        self._open: set[Sample] = set()
        self._started = 0
        self.ms: list[float] = []
        self.errors = 0

    def run(self) -> None:
        began = time.perf_counter()
        while self._started < self._count or self._open:
            now = time.perf_counter()
            self._give_up(now)
            due = began + self._started * self._every_s
            free = now >= due if self._every_s else not self._open
            if self._started < self._count and free:
                self._start()
                continue
            wait = due - now if self._every_s and self._started < self._count else 0.1
            for key, mask in self._selector.select(max(0.0, min(wait, 0.1))):
                self._go_on(key.data, mask)

    def _start(self) -> None:
        self._started += 1
        try:
            self._open.add(Sample(self._address, self._selector))
        except OSError:
            self.errors += 1

    def _go_on(self, sample: Sample, mask: int) -> None:
        try:
            over = sample.go_on(self._selector, mask)
        except OSError:
            self._end(sample, failed=True)
            return
        if over:
            self._end(sample, failed=not sample.answered)

    def _end(self, sample: Sample, failed: bool) -> None:
        if failed:
            self.errors += 1
        else:
            self.ms.append(round((time.perf_counter() - sample.began) * 1000, 3))
        self._open.discard(sample)
        self._selector.unregister(sample.socket)
        sample.socket.close()

    def _give_up(self, now: float) -> None:
        for sample in [s for s in self._open if now - s.began > PATIENCE_S]:
            self._end(sample, failed=True)


def main() -> None:
    ip, port, count, every_s = sys.argv[1:5]
    sampler = Sampler((ip, int(port)), int(count), float(every_s))
    with contextlib.suppress(KeyboardInterrupt):
        sampler.run()
    print(json.dumps({"ms": sampler.ms, "errors": sampler.errors}))


if __name__ == "__main__":
    main()
