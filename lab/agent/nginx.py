"""nginx as a host's web server, for load: the same X-Server header and hit log as the small one, without
health checks.

One process without a master: it changes to no other user by itself (see privileges.py), and it handles its events one
after the other, so an answer through its private socket proves that it serves, and all hits before it are in the log.
Rule: whatever it writes, but for its hits, lies in a folder of its own, where nobody else writes.
"""

from __future__ import annotations

import socket
from pathlib import Path

from lab import wire
from lab.agent.privileges import as_nobody, give
from lab.agent.web_server import HEALTH_CHECK, body_of

NGINX = "/usr/sbin/nginx"
IPV6 = Path("/proc/net/if_inet6")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

CONFIGURATION = """\
daemon off;
master_process off;
{user}
pid {own}/pid;
error_log {own}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    log_format hits escape=json '{{"time": $msec, "client_ip": "$client", "client_port": $remote_port, '
                                '"path": "$request_uri", "status": $status}}';
    map $remote_addr $client {{ ~^::ffff:(?<ipv4>.+)$ $ipv4; default $remote_addr; }}
    map $http_user_agent $counts {{ {health_check} 0; default 1; }}
    {temporary}
    access_log {hits};
    default_type text/plain;
    add_header X-Server {host} always;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    server {{
        {listen}
        root {home};
        location / {{ try_files /body =500; }}
    }}
    server {{
        listen unix:{own}/socket;
        access_log off;
        location / {{ return 204; }}
    }}
}}
"""


def prepare(server: wire.HttpServer, home: Path, log: Path) -> list[str]:
    """Write configuration and body below `home`; returns the command line."""
    own = home / "own"
    own.mkdir(parents=True, exist_ok=True)
    give(own)
    (own / "socket").unlink(missing_ok=True)
    (home / "body").write_bytes(body_of(server.host, server.response_bytes))
    address, option = ("[::]:", " ipv6only=off") if IPV6.exists() else ("", "")
    listen = "\n        ".join(f"listen {address}{port}{option} backlog=1024;" for port in server.ports)
    temporary = "\n    ".join(f"{kind}_temp_path {own}/{kind};" for kind in TEMPORARY)
    configuration = home / "nginx.conf"
    user = "" if as_nobody() else "user root root;"  # without one, nginx would want its own
    hits = f"{log} hits if=$counts" if server.log_hits else "off"
    places = {"home": home, "own": own, "hits": hits, "temporary": temporary}
    configuration.write_text(
        CONFIGURATION.format(host=server.host, listen=listen, health_check=HEALTH_CHECK, user=user, **places)
    )
    return [NGINX, "-p", f"{own}/", "-c", str(configuration)]


def settle(home: Path) -> None:
    """Returns when all answers that nginx has sent so far are in its log. Raises OSError: it doesn't serve."""
    with socket.socket(socket.AF_UNIX) as barrier:
        barrier.settimeout(2)
        barrier.connect(str(home / "own" / "socket"))
        barrier.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while barrier.recv(4096):
            pass
