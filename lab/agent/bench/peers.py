"""Other balancers on a host of the lab, with the service's address: HAProxy, nftables' DNAT, IPVS.

Each gets what makes it fast in a lab of this size and nothing that only looks well: connections in turn, as ours; no
logs; answers come back through it, as they must where clients and servers share a network. Its configuration is text
that is kept with the figures. Rule: a peer that can't work here is refused with the reason, before it is measured.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab.agent.bench.counters import listens
from lab.agent.bench.programs import need
from lab.agent.namespaces import Place
from lab.agent.privileges import LISTEN, as_nobody
from lab.agent.refusal import Refusal
from lab.wire_bench import PEERS, Peer, Target

START_S = 5.0
MAX_CONNECTIONS = 4096  # of HAProxy: two descriptors each, below the limit that hosts' programs have
IPVS = Path("/proc/net/ip_vs")
SYSCTLS = {  # what a router on one interface needs; redirects would send clients past it
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.{interface}.send_redirects": "0",
}
HAPROXY = """\
global
    nbthread 1
    maxconn {maximum}
defaults
    mode tcp
    balance roundrobin
    option tcp-smart-accept
    option tcp-smart-connect
    timeout connect 5s
    timeout client 30s
    timeout server 30s
"""


class RunningPeer:
    """A started peer: its program, where it has one, and what it was configured with."""

    def __init__(self, configuration: dict[str, str], process: subprocess.Popen[bytes] | None = None) -> None:
        self.configuration = configuration
        self._process = process

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def start(peer: Peer, place: Place, folder: Path) -> RunningPeer:
    """Give the host the service's address and start the peer there. Raises Refusal."""
    if peer.kind not in PEERS:
        raise Refusal(400, f"peer {peer.kind!r} is not known; known: {', '.join(PEERS)}")
    interface = f"{peer.host}-eth0"
    folder.mkdir(parents=True, exist_ok=True)
    _run(place, ["ip", "address", "replace", f"{peer.ip}/32", "dev", interface])
    if peer.kind == "haproxy":
        return _start_haproxy(peer, place, folder)
    settings = {name.format(interface=interface): value for name, value in SYSCTLS.items()}
    if peer.kind == "nftables":
        return _start_nftables(peer, place, settings)
    return _start_ipvs(peer, place, settings)


def _start_haproxy(peer: Peer, place: Place, folder: Path) -> RunningPeer:
    program, file, words = need("haproxy"), folder / "haproxy.cfg", folder / "haproxy.output"
    file.write_text(haproxy(peer))
    with words.open("wb") as output:
        process = place.popen(
            [*as_nobody(keep=LISTEN), program, "-db", "-f", str(file)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    running = RunningPeer({"haproxy.cfg": haproxy(peer)}, process)
    deadline = time.monotonic() + START_S
    while not all(listens(process.pid, target.port) for target in peer.targets):
        if process.poll() is not None or time.monotonic() > deadline:
            running.stop()
            said = words.read_text(errors="replace").strip().splitlines()
            raise Refusal(500, f"HAProxy didn't start: {said[-1][:300] if said else 'it said nothing'}")
        time.sleep(0.01)
    return running


def _start_nftables(peer: Peer, place: Place, settings: dict[str, str]) -> RunningPeer:
    rules = nftables(peer)
    sysctls = _set(place, settings)
    _run(place, [need("nft"), "-f", "-"], rules)
    return RunningPeer({"nftables.conf": rules, "sysctl.conf": sysctls})


def _start_ipvs(peer: Peer, place: Place, settings: dict[str, str]) -> RunningPeer:
    program, nft = need("ipvsadm"), need("nft")
    if not IPVS.exists():
        raise Refusal(409, "this kernel has no IPVS, or its module isn't loaded: modprobe ip_vs ip_vs_rr, as root")
    rules, masquerade = ipvs(peer), _table(_masquerading(peer))
    sysctls = _set(place, {**settings, "net.ipv4.vs.conntrack": "1"})
    _run(place, [program, "-R"], rules)
    _run(place, [nft, "-f", "-"], masquerade)
    return RunningPeer({"ipvsadm.rules": rules, "nftables.conf": masquerade, "sysctl.conf": sysctls})


def haproxy(peer: Peer) -> str:
    """Health is checked as often as ours, by TCP; a port's only server isn't checked, as there is no choice."""
    return HAPROXY.format(maximum=MAX_CONNECTIONS) + "".join(_listen(peer.ip, target) for target in peer.targets)


def _listen(ip: str, target: Target) -> str:
    port = target.port
    check = " check inter 1s rise 1 fall 2" if len(target.servers) > 1 else ""
    servers = (f"    server {server} {server}:{port}{check}\n" for server in target.servers)
    return f"listen port{port}\n    bind {ip}:{port}\n{''.join(servers)}"


def nftables(peer: Peer) -> str:
    """Destinations in turn on the way in; on the way out the peer's own address, so that answers come back."""
    rules = [f"ip daddr {peer.ip} tcp dport {target.port} {_dnat(target.servers)}" for target in peer.targets]
    turns = ["chain prerouting {", "    type nat hook prerouting priority dstnat;", *(f"    {r}" for r in rules), "}"]
    return _table([*turns, *_masquerading(peer)])


def _dnat(servers: Sequence[str]) -> str:
    if len(servers) == 1:
        return f"dnat to {servers[0]}"
    places = ", ".join(f"{n} : {ip}" for n, ip in enumerate(servers))
    return f"dnat to numgen inc mod {len(servers)} map {{ {places} }}"


def _masquerading(peer: Peer) -> list[str]:
    servers = ", ".join(dict.fromkeys(ip for target in peer.targets for ip in target.servers))
    rule = f"    ip daddr {{ {servers} }} masquerade"
    return ["chain postrouting {", "    type nat hook postrouting priority srcnat;", rule, "}"]


def _table(lines: Sequence[str]) -> str:
    return "table ip bench {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def ipvs(peer: Peer) -> str:
    """Translated in turn (-m, rr), as `ipvsadm -R` reads it."""
    lines = []
    for target in peer.targets:
        service = f"-t {peer.ip}:{target.port}"
        lines += [f"-A {service} -s rr", *(f"-a {service} -r {ip}:{target.port} -m -w 1" for ip in target.servers)]
    return "".join(f"{line}\n" for line in lines)


def _set(place: Place, settings: dict[str, str]) -> str:
    """Set what can be set (in containers /proc/sys may be read-only); gives what holds now, and what was wanted."""
    lines = []
    for name, value in settings.items():
        holds = set_sysctl(place, name, value)
        lines.append(f"{name} = {holds}" + ("" if holds == value else f"  # {value} was wanted, and is not permitted"))
    return "".join(f"{line}\n" for line in lines)


def set_sysctl(place: Place, name: str, value: str) -> str:
    """Try to set it in the host's network; gives what holds then."""
    path = f"/proc/sys/{name.replace('.', '/')}"
    script = f"echo '{value}' >{path}; cat {path}"
    quiet = subprocess.DEVNULL
    with place.popen(["sh", "-c", script], stdin=quiet, stdout=subprocess.PIPE, stderr=quiet) as child:
        out, _ = child.communicate()
    return " ".join(out.decode().split())


def _run(place: Place, argv: Sequence[str], text: str = "") -> None:
    pipe = subprocess.PIPE
    with place.popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        out, err = child.communicate(text.encode())
    if child.returncode:
        said = " ".join((err or out).decode(errors="replace").split())
        raise Refusal(500, f"{argv[0].rpartition('/')[2]} failed: {said[:300] or child.returncode}")
