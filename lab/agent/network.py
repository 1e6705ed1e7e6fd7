"""Mininet's part: nodes, links and switches of a `wire.Network`. The only module that imports Mininet.

Mininet configures each node through its shell, one command after the other. The classes here keep Mininet's model of
the network (so `net['h1'].cmd(…)`, `configLinkStatus` and the rest work) and do the same work in bulk: nodes start side
by side, a host's shell only when it is used, all links are made by one `ip`, addresses are set by ioctl, all switches
by one `ovs-vsctl`.
Classes: Net; below it QuickHost, QuickSwitch, QuickIntf, QuickLink. Rule: one thread at a time.
"""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import wire
from lab.agent.interfaces import add_ipv6, configure
from lab.agent.namespaces import Namespace
from lab.agent.openvswitch import OpenVSwitch, run
from lab.agent.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = "77"  # marks our links, so that one call deletes them all
NODES_AT_ONCE = 6
IPV6 = Path("/proc/sys/net/ipv6")
FILES = 16_384  # open at once, by us and by what we start: two per host, one per connection


class _StrictVersion:
    """What Mininet compares Open vSwitch's version with 1.10 by; here nothing is that old."""

    def __init__(self, text: str) -> None:
        self._parts = [int(part) for part in text.split(".")]

    def __lt__(self, other: _StrictVersion) -> bool:
        return self._parts < other._parts


@contextmanager
def _distutils_stand_in() -> Iterator[None]:
    """Mininet 2.3.0 imports one class from distutils: gone in Python 3.12, and 0.26 s with setuptools' copy."""
    names = ("distutils", "distutils.version")
    if any(name in sys.modules for name in names):
        yield
        return
    package, version = (types.ModuleType(name) for name in names)
    version.__dict__["StrictVersion"] = _StrictVersion
    sys.modules.update(zip(names, (package, version)))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


with _distutils_stand_in():
    from mininet.link import Intf, Link
    from mininet.log import setLogLevel
    from mininet.net import VERSION, Mininet
    from mininet.node import Host, OVSSwitch

setLogLevel("error")


class QuickIntf(Intf):  # type: ignore[misc]  # Mininet has no types
    """An interface that Net configures, with all others, rather than by itself."""

    def config(self, **_params: Any) -> dict[str, Any]:
        return {}


class QuickLink(Link):  # type: ignore[misc]
    """A link whose two ends Net makes and deletes, with all others."""

    @classmethod
    def makeIntfPair(cls, *_args: Any, **_params: Any) -> str:  # Mininet's name
        return ""

    def stop(self) -> None:
        return None


class QuickHost(Host):  # type: ignore[misc]
    """A host that knows its address, and leaves setting it to Net. Its shell starts when it is first spoken to.

    Four programs and a conversation are a shell's start, and most hosts never need one: what runs on them is started in
    their namespaces. Until then, and for `pid`, a `cat` that waits for us to end holds those."""

    _shell: subprocess.Popen[bytes] | None = None
    _holder: subprocess.Popen[bytes] | None = None
    _starting = False

    @classmethod
    def setup(cls) -> None:
        return None

    def config(self, ip: str = "", **_params: Any) -> dict[str, Any]:
        interface = self.defaultIntf()
        interface.ip, _, interface.prefixLen = ip.partition("/")
        return {}

    def startShell(self, mnopts: str | None = None) -> None:  # Mininet's name; called when the host is made
        """Make the namespaces; how else a shell would be started (`mnopts`) doesn't matter."""
        holder = subprocess.Popen(
            ["mnexec", "-np", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        assert holder.stdout is not None
        with holder.stdout as said:  # its process id, once the namespaces are there
            if not said.readline().strip():
                raise Refusal(500, f"mnexec could not make the namespaces of {self.name}")
        self._holder = holder
        self.pid = holder.pid

    @property
    def shell(self) -> subprocess.Popen[bytes] | None:
        if self._shell is None and self._holder is not None and not self._starting:
            self._starting, self.inNamespace = True, False  # so that it joins these namespaces, and makes none
            try:
                super().startShell(f"-cda{self._holder.pid}")
            finally:
                self._starting, self.inNamespace = False, True
                self.pid = self._holder.pid
        return self._shell

    @shell.setter
    def shell(self, process: subprocess.Popen[bytes] | None) -> None:
        self._shell = process

    def terminate(self) -> None:
        holder, self._holder = self._holder, None
        super().terminate()
        if holder is not None and holder.stdin is not None:
            holder.stdin.close()
            holder.wait()


class QuickSwitch(OVSSwitch):  # type: ignore[misc]
    """An Open vSwitch bridge that starts with all others in one call, and whose failure is told."""

    ovs: OpenVSwitch

    @classmethod
    def setup(cls) -> None:
        return None

    @classmethod
    def isOldOVS(cls) -> bool:  # Mininet's name
        return False

    @classmethod
    def batchStartup(  # Mininet's name
        cls, switches: Sequence[QuickSwitch], **_params: Any
    ) -> Sequence[QuickSwitch]:
        words = [word for switch in switches for command in switch.commands for word in shlex.split(command)]
        switches[0].ovs.vsctl(*words)
        for switch in switches:
            switch.batch = False
        return switches


class Net:
    """A network in two steps: `start_nodes` (hosts can run programs), then `start_links` (packets flow)."""

    version: str = VERSION

    def __init__(self, network: wire.Network, ovs: OpenVSwitch) -> None:
        self._network = network
        self._ovs = ovs
        _raise_limits()
        self._mininet = Mininet(controller=None, build=False, link=QuickLink, intf=QuickIntf)
        self.places: dict[str, Namespace] = {}

    def start_nodes(self) -> None:
        """Start each node, side by side: starting one is mostly waiting for it."""
        with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
            started = [pool.submit(self._add_host, host) for host in self._network.hosts]
            started += [pool.submit(self._add_switch, switch) for switch in self._network.switches]
        for node in started:
            node.result()
        self._mininet.hosts.sort(key=_order([host.name for host in self._network.hosts]))
        self._mininet.switches.sort(key=_order([switch.name for switch in self._network.switches]))
        self.places = {host.name: Namespace(host.pid) for host in self._mininet.hosts}

    def _add_host(self, host: wire.Host) -> None:
        self._mininet.addHost(host.name, cls=QuickHost, ip=host.ip, mac=host.mac.lower())

    def _add_switch(self, switch: wire.Switch) -> None:
        node = self._mininet.addSwitch(
            switch.name,
            cls=QuickSwitch,
            dpid=f"{switch.dpid:016x}",
            datapath=self._ovs.datapath,
            failMode="secure",
            inband=False,
            batch=True,
        )
        node.ovs = self._ovs

    def start_links(self) -> None:
        """Make all links (hosts take the first ports, in their order), set the hosts' addresses, start the switches."""
        for host in self._network.hosts:
            self._mininet.addLink(host.name, host.switch, addr1=host.mac.lower())
        for one, other in self._network.links:
            self._mininet.addLink(one, other)
        run(["ip", "-batch", "-"], stdin="\n".join(map(_commands, self._mininet.links)) + "\n")
        for host in self._network.hosts:
            with self.places[host.name].entered():
                configure(f"{host.name}-eth0", host.ip, host.ip6)
        self._mininet.start()

    def set_link(self, one: str, other: str, state: str) -> None:
        """Both ends of the link between two nodes go up or down. A host that is back has its addresses again."""
        nodes = self._mininet.get(one, other)
        if not self._mininet.linksBetween(*nodes):
            raise Refusal(400, f"there is no link between {one} and {other}")
        self._mininet.configLinkStatus(one, other, state)
        for host in self._network.hosts:
            if state == "up" and host.name in (one, other) and host.ip6 is not None:
                with self.places[host.name].entered():
                    add_ipv6(f"{host.name}-eth0", host.ip6)

    def pids(self) -> dict[str, int]:
        """A process of each host: whoever joins its namespaces is on the host."""
        return {host.name: host.pid for host in self._mininet.hosts}

    def stop(self) -> None:
        for place in self.places.values():
            place.close()
        self.places = {}
        self._mininet.stop()
        run(["ip", "link", "delete", "group", GROUP])


def _raise_limits() -> None:
    """In place of Mininet's own initialisation, which also sets limits of the whole machine (as fs.file-max)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    Mininet.inited = True


def _order(names: Sequence[str]) -> Callable[[Any], int]:
    """Sort key for nodes: the place of their name in `names`."""
    places = {name: i for i, name in enumerate(names)}
    return lambda node: places[node.name]


def _commands(link: Any) -> str:
    """Commands of `ip -batch` for one link; its second end is always a switch's, and stays here."""
    first, second = link.intf1, link.intf2
    there = f" netns {first.node.pid}" if first.node.inNamespace else ""
    lines = [
        f"link add name {second} address {second.mac} group {GROUP} type veth "
        f"peer name {first} address {first.mac}{there}",
    ]
    for port in [second] if there else [second, first]:
        lines += [f"link set {port} addrgenmode none"] * IPV6.exists()  # a switch's port has no address, nor tells one
        lines.append(f"link set {port} up")
    return "\n".join(lines)
