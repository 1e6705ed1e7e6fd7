"""Ways to damage a frame, for tools/fuzz_packets.py. Each takes a source of chance and a frame, and gives another one.

Rule: no mutation needs a frame that it can read; what isn't there to be changed is left as it is.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final

ODD: Final = (0, 1, 4, 5, 15, 19, 20, 21, 0x40, 0x45, 0x4F, 0x60, 0x7F, 0x80, 0xFE, 0xFF)  # values that parsers mistake
ETHERNET: Final = 14
# where lengths and offsets stand: IHL, IPv4 length, fragment, protocol, UDP length, TCP offset; IPv6: length, next
# header, TCP offset; ARP: hardware and protocol lengths
LENGTHS: Final = (14, 16, 17, 20, 21, 23, 38, 39, 46, 18, 19, 20, 66, 58, 59, 18, 19)
EXTENSIONS: Final = (0, 43, 44, 50, 51, 60, 59)  # IPv6: hop-by-hop, routing, fragment, ESP, AH, destination, none
LONGEST: Final = 1600

Mutation = Callable[[random.Random, bytes], bytes]


def cut(rng: random.Random, frame: bytes) -> bytes:
    return frame[: int(rng.random() * (len(frame) + 1))]


def flip_bits(rng: random.Random, frame: bytes) -> bytes:
    if not frame:
        return frame
    damaged = bytearray(frame)
    for _ in range(1 + int(rng.random() * 4)):
        damaged[int(rng.random() * len(damaged))] ^= 1 << int(rng.random() * 8)
    return bytes(damaged)


def odd_byte(rng: random.Random, frame: bytes) -> bytes:
    return _with_byte(frame, int(rng.random() * max(1, len(frame))), ODD[int(rng.random() * len(ODD))])


def bad_length(rng: random.Random, frame: bytes) -> bytes:
    at = LENGTHS[int(rng.random() * len(LENGTHS))]
    value = int(rng.random() * 256) if rng.random() < 0.5 else ODD[int(rng.random() * len(ODD))]
    return _with_byte(frame, at, value)


def length_off_by_a_little(rng: random.Random, frame: bytes) -> bytes:
    """The IP packet's length, nearly right."""
    if len(frame) < ETHERNET + 6:
        return frame
    at = 16 if frame[12:14] == b"\x08\x00" else 18
    length = int.from_bytes(frame[at : at + 2], "big") + int(rng.random() * 9) - 4
    return frame[:at] + struct.pack("!H", length & 0xFFFF) + frame[at + 2 :]


def tag(rng: random.Random, frame: bytes) -> bytes:
    """A VLAN tag, of either kind."""
    kind = 0x8100 if rng.random() < 0.5 else 0x88A8
    return frame[:12] + struct.pack("!HH", kind, int(rng.random() * 65536)) + frame[12:]


def fragment(rng: random.Random, frame: bytes) -> bytes:
    return frame[:20] + struct.pack("!H", int(rng.random() * 65536)) + frame[22:] if len(frame) > 22 else frame


def ip_options(rng: random.Random, frame: bytes) -> bytes:
    """IPv4 options; the lengths follow, mostly."""
    if len(frame) < ETHERNET + 20 or frame[12:14] != b"\x08\x00":
        return frame
    words = 1 + int(rng.random() * 10)
    header = bytearray(frame[ETHERNET:34])
    header[0] = 0x40 | 5 + words
    if rng.random() < 0.8:
        header[2:4] = struct.pack("!H", min(0xFFFF, int.from_bytes(header[2:4], "big") + words * 4))
    return frame[:ETHERNET] + bytes(header) + rng.randbytes(words * 4) + frame[34:]


def extension_headers(rng: random.Random, frame: bytes) -> bytes:
    """A chain of IPv6 extension headers, whose lengths are now and then wrong."""
    if len(frame) < ETHERNET + 40 or frame[12:14] != b"\x86\xdd":
        return frame
    chain, following = b"", frame[20]
    for _ in range(1 + int(rng.random() * 6)):
        size = 0 if rng.random() < 0.7 else int(rng.random() * 256)
        chain = bytes([following, size]) + rng.randbytes(6) + chain
        following = EXTENSIONS[int(rng.random() * len(EXTENSIONS))]
    length = struct.pack("!H", min(0xFFFF, int.from_bytes(frame[18:20], "big") + len(chain)))
    return frame[:18] + length + bytes([following]) + frame[21:54] + chain + frame[54:]


def other_client(rng: random.Random, frame: bytes) -> bytes:
    """Another source port, and perhaps another source address: not damage, but a new connection."""
    if len(frame) < 36:
        return frame
    source = frame[26:29] + bytes([1 + int(rng.random() * 250)]) if rng.random() < 0.5 else frame[26:30]
    return frame[:26] + source + frame[30:34] + rng.randbytes(2) + frame[36:]


def insert(rng: random.Random, frame: bytes) -> bytes:
    at = int(rng.random() * (len(frame) + 1))
    return frame[:at] + rng.randbytes(1 + int(rng.random() * 16)) + frame[at:]


def leave_out(rng: random.Random, frame: bytes) -> bytes:
    at = int(rng.random() * (len(frame) + 1))
    return frame[:at] + frame[at + 1 + int(rng.random() * 16) :]


def random_body(rng: random.Random, frame: bytes) -> bytes:
    """Noise behind a good Ethernet header."""
    return frame[:ETHERNET] + rng.randbytes(int(rng.random() * 100))


def noise(rng: random.Random, frame: bytes) -> bytes:
    return rng.randbytes(int(rng.random() * 120))


def unchanged(rng: random.Random, frame: bytes) -> bytes:
    return frame


MUTATIONS: Final[Sequence[Mutation]] = (
    cut,
    flip_bits,
    odd_byte,
    bad_length,
    length_off_by_a_little,
    tag,
    fragment,
    ip_options,
    extension_headers,
    other_client,
    other_client,  # twice, since it is what fills tables
    insert,
    leave_out,
    random_body,
    noise,
    unchanged,
)


def mutated(rng: random.Random, frames: Sequence[bytes]) -> bytes:
    """One to three mutations of one of `frames`."""
    frame = frames[int(rng.random() * len(frames))]
    for _ in range(1 + int(rng.random() ** 2 * 3)):
        frame = MUTATIONS[int(rng.random() * len(MUTATIONS))](rng, frame)
    return frame[:LONGEST]


def _with_byte(frame: bytes, at: int, value: int) -> bytes:
    return frame[:at] + bytes([value]) + frame[at + 1 :] if at < len(frame) else frame
