"""The control socket, a real one: what is asked, what is wrong, and an asker that leaves."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engines import control
from lab.engines.control import ControlError, ask


def add(a: int, b: int) -> int:
    return a + b


def refuse() -> None:
    raise ValueError("not today")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A socket that is served, at a place where an old one was left."""
    place = tmp_path / "control.sock"
    place.write_text("left behind")
    control.serve(str(place), {"add": add, "refuse": refuse, "hello": lambda: "hello"})
    return str(place)


@pytest.fixture
def line(path: str) -> Iterator[socket.SocketIO]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        with connection.makefile("rwb", buffering=0) as stream:
            yield stream


def say(line: socket.SocketIO, text: bytes) -> dict[str, object]:
    line.write(text + b"\n")
    said = b""
    while not said.endswith(b"\n"):
        said += line.read(1)
    answer: dict[str, object] = json.loads(said)
    return answer


def test_operation_is_called_with_its_arguments(path: str) -> None:
    assert ask(path, "add", a=2, b=3) == 5
    assert ask(path, "hello") == "hello"


def test_only_its_owner_may_use_it(path: str) -> None:
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("operation", "args", "sentence"),
    [
        ("dance", {}, "unknown operation or name 'dance'"),
        ("add", {"a": 1}, "missing 1 required positional argument"),
        ("add", {"a": 1, "c": 1}, "unexpected keyword argument"),
        ("refuse", {}, "not today"),
    ],
)
def test_what_is_wrong_is_told_to_the_asker(path: str, operation: str, args: dict[str, int], sentence: str) -> None:
    with pytest.raises(ControlError, match=sentence):
        ask(path, operation, **args)
    assert ask(path, "hello") == "hello"


@pytest.mark.parametrize(
    "nonsense",
    [b"{", b"", b"5", b"[]", b'"add"', b"null", b"{}", b"\xff\xfe", b'{"op": ["add"]}', b'{"op": "add", "args": 7}'],
)
def test_nonsense_is_answered_and_the_line_stays_open(line: socket.SocketIO, nonsense: bytes) -> None:
    assert list(say(line, nonsense)) == ["error"]
    assert say(line, b'{"op": "add", "args": {"a": 1, "b": 1}}') == {"ok": 2}


def test_asker_that_leaves_in_the_middle_disturbs_nobody(path: str) -> None:
    for unfinished in (b"", b'{"op": "hel', b'{"op": "hello"}\n' * 2000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(unfinished)
    assert ask(path, "hello", timeout=5) == "hello"


def test_absent_engine_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="the engine doesn't answer: "):
        ask(str(tmp_path / "nobody"), "hello")


@pytest.mark.parametrize(("said", "sentence"), [(b"", "hung up"), (b"what?\n", "doesn't answer")])
def test_engine_that_hangs_up_or_babbles_is_one_sentence(tmp_path: Path, said: bytes, sentence: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def babble() -> None:
            client, _ = listener.accept()
            with client:
                client.recv(100)
                client.sendall(said)

        thread = threading.Thread(target=babble)
        thread.start()
        with pytest.raises(ControlError, match=sentence):
            ask(str(tmp_path / "s"), "hello")
        thread.join()
