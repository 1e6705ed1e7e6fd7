"""What the agent does with requests for the controller's supervisor that can't be passed on."""

from __future__ import annotations

import socket
from email.message import Message

import pytest

from lab.agent.refusal import Refusal
from lab.agent.supervisor import Supervisor
from lab.http_door import Request


@pytest.mark.parametrize("target", ["/controller/pool/w\N{LATIN SMALL LETTER E WITH ACUTE}b", "/controller/a\x01b"])
def test_a_path_that_can_t_be_sent_is_the_asker_s_mistake(target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as connection, pytest.raises(Refusal) as refused:
        Supervisor("127.0.0.1", "t").forward(Request(connection, "GET", target, Message()))
    assert refused.value.status == 400
