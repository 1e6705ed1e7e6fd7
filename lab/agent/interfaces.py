"""Configures a host's interface from inside its namespace: address, checksum offload, up.

Done by ioctl (an IPv6 address by netlink): a host costs a tenth of a millisecond, ifconfig and ethtool an exec each.
Offload must be off because the userspace datapath would carry packets whose checksum nobody has computed, and TCP
would hang in its handshake. Rule: offload is read back, never assumed.
"""

from __future__ import annotations

import array
import errno
import fcntl
import ipaddress
import os
import socket
import struct

SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK, SIOCETHTOOL = 0x8913, 0x8914, 0x8916, 0x891C, 0x8946
ETHTOOL_GRXCSUM, ETHTOOL_SRXCSUM, ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x14, 0x15, 0x16, 0x17
IFF_UP = 1
RTM_NEWADDR, IFA_ADDRESS, IFA_F_NODAD, NLM_F_REQUEST_ACK_CREATE = 20, 1, 0x02, 0x405
RTM_NEWLINK, IFLA_AF_SPEC, IFLA_INET6_ADDR_GEN_MODE, GEN_NONE, NLM_F_REQUEST_ACK = 16, 26, 8, 1, 0x5


def configure(interface: str, ip: str, ip6: str | None = None) -> None:
    """Give `interface` (in the caller's namespace) the address `ip`, and `ip6` if there is one (with prefix lengths),
    and bring it and lo up. Raises OSError: what is asked for can't be had, as IPv6 where the kernel has none."""
    address = ipaddress.IPv4Interface(ip)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _up(control, "lo")
        _offload_off(control, interface)
        fcntl.ioctl(control, SIOCSIFADDR, _request(interface, _sockaddr(address.ip.packed)))
        fcntl.ioctl(control, SIOCSIFNETMASK, _request(interface, _sockaddr(address.netmask.packed)))
        if ip6 is None:
            _no_ipv6(interface)
        _up(control, interface)
    if ip6 is not None:
        add_ipv6(interface, ip6)


def add_ipv6(interface: str, ip6: str) -> None:
    """Give `interface` the address `ip6` unless it has it. Linux takes it away when the interface goes down.

    By netlink, since ioctl can't say that the address is used at once: in a lab nobody else has it, and finding that
    out would take a second (RFC 4862, duplicate address detection)."""
    address = ipaddress.IPv6Interface(ip6)
    index, length = socket.if_nametoindex(interface), address.network.prefixlen
    body = struct.pack("BBBBI", socket.AF_INET6, length, IFA_F_NODAD, 0, index)
    body += struct.pack("HH16s", 20, IFA_ADDRESS, address.ip.packed)
    code = _netlink(RTM_NEWADDR, NLM_F_REQUEST_ACK_CREATE, body)
    if code not in (0, -errno.EEXIST):
        why = f"{os.strerror(-code)}; is IPv6 switched off on this machine?"
        raise OSError(f"{interface} can't have the address {address}: {why}")


def _no_ipv6(interface: str) -> None:
    """Let `interface` give itself no IPv6 address when it comes up, where the kernel has IPv6 at all.

    Each host would tell all others of its own, several times over: among hundreds, a switch in userspace has its hands
    full with that for seconds, and what a balancer asks its servers waits behind it."""
    index = socket.if_nametoindex(interface)
    body = struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
    body += struct.pack("HHHHHHBxxx", 16, IFLA_AF_SPEC, 12, socket.AF_INET6, 5, IFLA_INET6_ADDR_GEN_MODE, GEN_NONE)
    _netlink(RTM_NEWLINK, NLM_F_REQUEST_ACK, body)


def _netlink(kind: int, flags: int, body: bytes) -> int:
    """Ask the kernel to change something of the caller's namespace; gives 0, or an error's number, negative."""
    head = struct.pack("IHHII", 16 + len(body), kind, flags, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as control:
        control.bind((0, 0))
        control.sendall(head + body)
        (code,) = struct.unpack_from("i", control.recv(4096), 16)
    return int(code)


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
