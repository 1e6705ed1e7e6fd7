"""Stands where supervisor and engine would: answers the supervisor's API with what it was asked, and greets switches.

Run as a script in the sandbox of the agent's tests; standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

OPENFLOW_HELLO = bytes([4, 0, 0, 8, 0, 0, 0, 1])


class Echo(BaseHTTPRequestHandler):
    """Any request → 200 (or what ?status= says) and JSON of method, path, body, and whether the token was right."""

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        known = self.headers.get("Authorization") == f"Bearer {os.environ['LAB_TOKEN']}"
        said = json.dumps(
            {"method": self.command, "path": self.path, "body": body, "token": known, "ok": True}
        ).encode()
        status = self.path.rpartition("?status=")
        self.send_response(int(status[2]) if status[1] else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


def greet(switch: socket.socket) -> None:
    with switch:
        switch.sendall(OPENFLOW_HELLO)
        while switch.recv(4096):
            pass


def main() -> None:
    threading.Thread(target=ThreadingHTTPServer(("127.0.0.1", 8081), Echo).serve_forever, daemon=True).start()
    with socket.create_server(("127.0.0.1", 6633)) as listener:
        while True:
            switch, _ = listener.accept()
            threading.Thread(target=greet, args=(switch,), daemon=True).start()


if __name__ == "__main__":
    main()
