"""A small UDP server, run on a host as a script of its own: answers each datagram with who it is, and logs the hit.

    /usr/bin/python3 -I -S udp_server.py NAME PORT[-LAST] RESPONSE_BYTES DELAY_MS LOG

It writes UP to standard output once it listens. An answer is the server's name, a line break, and dots up to
RESPONSE_BYTES. Standard library only, and little of it, as for `web_server`. Rule: a hit stands in the log before its
answer is sent, so the counts at both ends agree as soon as the client is done.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time

UP = b"listening\n"  # as the web server's
MAX_DATAGRAM = 65_535
MAX_LOGGED = 200  # bytes of a datagram


class Site:
    """What this server answers, and its log."""

    def __init__(self, name: str, size: int, delay_s: float, log: str) -> None:
        self.answer = f"{name}\n".encode().ljust(size, b".")
        self.delay_s = delay_s
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def log(self, peer: tuple[str, int], said: bytes) -> None:
        """One write of one line: lines of several threads never mix."""
        path = said[:MAX_LOGGED].decode("latin-1")
        hit = {"time": time.time(), "client_ip": peer[0], "client_port": peer[1], "path": path, "status": 200}
        os.write(self._log, json.dumps(hit).encode() + b"\n")


def bind(port: int) -> socket.socket:
    """A socket for IPv4 and IPv6, or for IPv4 alone where the kernel has no IPv6."""
    try:
        door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("", port))
    return door


def serve(site: Site, door: socket.socket) -> None:
    while True:
        said, sender = door.recvfrom(MAX_DATAGRAM)
        if site.delay_s:  # others need not wait for this one
            threading.Timer(site.delay_s, answer, (site, door, said, sender)).start()
        else:
            answer(site, door, said, sender)


def answer(site: Site, door: socket.socket, said: bytes, sender: tuple[str, int]) -> None:
    site.log((sender[0].removeprefix("::ffff:"), sender[1]), said)
    try:
        door.sendto(site.answer, sender)
    except OSError as error:  # no way back to the sender: its own loss
        print(f"no answer to {sender[0]}: {error}", file=sys.stderr, flush=True)


def main(name: str, ports: str, size: str, delay_ms: str, log: str) -> None:
    site = Site(name, int(size), int(delay_ms) / 1000, log)
    first, _, last = ports.partition("-")
    doors = [bind(port) for port in range(int(first), int(last or first) + 1)]
    os.write(1, UP)
    for door in doors[1:]:
        threading.Thread(target=serve, args=(site, door), daemon=True).start()
    serve(site, doors[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
