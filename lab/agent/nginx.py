"""nginx as a host's web server, for load: the same X-Server header and hit log as the small one, without
health checks.

One process without a master: it changes to no other user (a sandbox without root has only one), and it handles its
events one after the other, so an answer through its private socket proves that all hits before it are in the log.
Rule: whatever it writes lies in its own folder.
"""

from __future__ import annotations

import socket
from pathlib import Path

from lab import wire
from lab.agent.web_server import HEALTH_CHECK, body_of

NGINX = "/usr/sbin/nginx"
IPV6 = Path("/proc/net/if_inet6")
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

CONFIGURATION = """\
daemon off;
master_process off;
user root root;
pid {home}/pid;
error_log {home}/error.log warn;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    log_format hits escape=json '{{"time": $msec, "client_ip": "$client", "client_port": $remote_port, '
                                '"path": "$request_uri", "status": $status}}';
    map $remote_addr $client {{ ~^::ffff:(?<ipv4>.+)$ $ipv4; default $remote_addr; }}
    map $http_user_agent $counts {{ {health_check} 0; default 1; }}
    {temporary}
    access_log {log} hits if=$counts;
    default_type text/plain;
    add_header X-Server {host} always;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    server {{
        listen {listen} backlog=1024;
        root {home};
        location / {{ try_files /body =500; }}
    }}
    server {{
        listen unix:{home}/socket;
        access_log off;
        location / {{ return 204; }}
    }}
}}
"""


def prepare(server: wire.HttpServer, home: Path, log: Path) -> list[str]:
    """Write configuration and body below `home`; returns the command line."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "socket").unlink(missing_ok=True)
    (home / "body").write_bytes(body_of(server.host, server.response_bytes))
    listen = f"[::]:{server.port} ipv6only=off" if IPV6.exists() else str(server.port)
    temporary = "\n    ".join(f"{kind}_temp_path {home}/{kind};" for kind in TEMPORARY)
    configuration = home / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            home=home, log=log, host=server.host, listen=listen, temporary=temporary, health_check=HEALTH_CHECK
        )
    )
    return [NGINX, "-p", f"{home}/", "-c", str(configuration)]


def settle(home: Path) -> None:
    """Returns when all answers that nginx has sent so far are in its log."""
    with socket.socket(socket.AF_UNIX) as barrier:
        barrier.settimeout(2)
        barrier.connect(str(home / "socket"))
        barrier.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while barrier.recv(4096):
            pass
