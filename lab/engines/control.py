"""The engine's control socket: a line of JSON in, a line of JSON out, over a Unix socket that only the supervisor sees.

Both engines serve it by the same thread (a real one under POX, a green one under os-ken, whose manager patches
`threading`). Rule: no HTTP, no names of services or servers here; what can be asked is the table of operations given.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_LINE: Final = 1 << 20  # bytes

Operation = Callable[..., Any]


class ControlError(Exception):
    """The engine refused, or isn't there; the text is one sentence."""


class Refused(ControlError):
    """The engine is well, but what was asked is wrong; `kind` says how: unknown (a name), conflict or wrong."""

    def __init__(self, sentence: str, kind: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def serve(path: str, operations: Mapping[str, Operation]) -> None:
    """Serve `operations` (name -> function of keyword arguments) at `path`, in a thread of its own."""
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen()
    threading.Thread(target=_accept, args=(listener, operations), name="control", daemon=True).start()


def _accept(listener: socket.socket, operations: Mapping[str, Operation]) -> None:
    while True:
        client, _ = listener.accept()
        with contextlib.suppress(OSError):  # the asker has gone; also felt when the stream is closed
            _serve(client, operations)


def _serve(client: socket.socket, operations: Mapping[str, Operation]) -> None:
    with client, client.makefile("rwb") as stream:
        for line in iter(lambda: stream.readline(MAX_LINE), b""):
            stream.write(json.dumps(_answer(line, operations)).encode() + b"\n")
            stream.flush()


def _answer(line: bytes, operations: Mapping[str, Operation]) -> dict[str, Any]:
    """Never raises: whatever is wrong with a request is told to the one who sent it."""
    try:
        request = json.loads(line)
        operation, args = operations[request["op"]], request.get("args", {})
    except KeyError as error:
        return {"error": f"unknown operation or name {error}"}
    except (ValueError, TypeError, AttributeError) as error:
        return {"error": str(error)}
    try:
        return {"ok": operation(**args)}
    except TypeError as error:
        return {"error": str(error)}
    except ValueError as error:
        return {"error": str(error), "kind": getattr(error, "kind", "wrong")}


def ask(path: str, operation: str, timeout: float = 2.0, **args: Any) -> Any:
    """Ask the engine behind `path`. Raises ControlError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps({"op": operation, "args": args}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                answer = json.loads(stream.readline(MAX_LINE) or b'{"error": "the engine hung up"}')
    except (OSError, ValueError) as error:
        raise ControlError(f"the engine doesn't answer: {error}") from error
    if "kind" in answer:
        raise Refused(answer["error"], answer["kind"])
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer["ok"]
