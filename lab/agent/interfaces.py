"""Configures a host's interface from inside its namespace: address, checksum offload, up.

Done by ioctl: a host costs a tenth of a millisecond, where ifconfig and ethtool cost an exec each.
Offload must be off because the userspace datapath would carry packets whose checksum nobody has computed, and TCP
would hang in its handshake. Rule: offload is read back, never assumed.
"""

from __future__ import annotations

import array
import fcntl
import ipaddress
import socket
import struct

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCETHTOOL = 0x8913, 0x8914, 0x8916, 0x891C, 0x8946
ETHTOOL_GRXCSUM, ETHTOOL_SRXCSUM, ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x14, 0x15, 0x16, 0x17
IFF_UP = 1


def configure(interface: str, ip: str) -> None:
    """Give `interface` (in the caller's namespace) the address `ip` (with prefix length), and bring it and lo up."""
    address = ipaddress.IPv4Interface(ip)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _up(control, "lo")
        _offload_off(control, interface)
        fcntl.ioctl(control, SIOCSIFADDR, _request(interface, _sockaddr(address.ip.packed)))
        fcntl.ioctl(control, SIOCSIFNETMASK, _request(interface, _sockaddr(address.netmask.packed)))
        _up(control, interface)


def _up(control: socket.socket, interface: str) -> None:
    answer = fcntl.ioctl(control, SIOCGIFFLAGS, _request(interface, b""))
    (flags,) = struct.unpack_from("H", answer, 16)
    fcntl.ioctl(control, SIOCSIFFLAGS, _request(interface, struct.pack("H", flags | IFF_UP)))


def _offload_off(control: socket.socket, interface: str) -> None:
    for setting, reading in ((ETHTOOL_STXCSUM, ETHTOOL_GTXCSUM), (ETHTOOL_SRXCSUM, ETHTOOL_GRXCSUM)):
        _ethtool(control, interface, setting)
        if _ethtool(control, interface, reading):
            raise OSError(f"checksum offload of {interface} can't be switched off, TCP would hang")


def _ethtool(control: socket.socket, interface: str, command: int) -> int:
    """Send an ethtool command with value 0; returns the value that comes back."""
    value = array.array("I", (command, 0))
    fcntl.ioctl(control, SIOCETHTOOL, _request(interface, struct.pack("P", value.buffer_info()[0])))
    return value[1]


def _request(interface: str, data: bytes) -> bytes:
    """A struct ifreq: name (16 bytes), then 24 bytes of whatever the call wants."""
    return struct.pack("16s24s", interface.encode(), data)


def _sockaddr(packed: bytes) -> bytes:
    return struct.pack("HH4s", socket.AF_INET, 0, packed)
