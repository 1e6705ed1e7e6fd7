"""The driver's side of the agent's API: what is sent, what comes back, and one sentence for whatever goes wrong."""

from __future__ import annotations

import pytest
from fake_lab import TOKEN, FakeAgent

from lab import wire
from lab.driver.agent_client import Agent, LoadEnd
from lab.driver.errors import LabError

LOAD = wire.Load(clients=("h3", "h4"), url="http://10.0.1.1/", requests=4)


@pytest.fixture
def client(agent: FakeAgent) -> Agent:
    return Agent(agent.url, TOKEN)


def test_load_gives_each_request_and_then_the_end(client: Agent) -> None:
    *requests, end = client.load(LOAD)
    assert [r.server for r in requests if isinstance(r, wire.Request)] == ["h1", "h2", "h1", "h2"]
    assert end == LoadEnd(sent=4, dropped=0)


def test_requests_come_as_they_end_not_when_all_have(client: Agent, agent: FakeAgent) -> None:
    agent.hang_at = 1
    stream = client.load(LOAD)
    assert isinstance(next(stream), wire.Request)
    agent.end_hang.set()
    assert len(list(stream)) == 4


def test_a_load_that_is_broken_off_is_an_error(client: Agent, agent: FakeAgent) -> None:
    agent.break_off_at = 2
    with pytest.raises(LabError, match="broke the load off"):
        list(client.load(LOAD))


def test_a_refusal_comes_with_the_agents_own_sentence(client: Agent, agent: FakeAgent) -> None:
    agent.refuse["POST /load"] = (400, "there is no host h9")
    with pytest.raises(LabError, match=r"^there is no host h9$"):
        list(client.load(LOAD))


def test_a_wrong_token_is_told(agent: FakeAgent) -> None:
    with pytest.raises(LabError, match="token"):
        Agent(agent.url, "other").controller()


def test_an_agent_that_is_gone_is_one_sentence(client: Agent, agent: FakeAgent) -> None:
    agent.stop()
    with pytest.raises(LabError, match="can't be reached") as error:
        client.flows()
    assert "\n" not in str(error.value)


def test_an_agent_that_says_nothing_is_not_waited_for_when_in_a_hurry(client: Agent, agent: FakeAgent) -> None:
    agent.hang_at = 0
    client.be_quick(0.05)
    with pytest.raises(LabError, match=r"within 0\.05 s"):
        agent_never_answers(client, agent)


def agent_never_answers(client: Agent, agent: FakeAgent) -> None:
    agent.shutdown()  # the socket still listens, nobody accepts
    client.health()


def test_a_proxy_of_the_users_is_never_asked(monkeypatch: pytest.MonkeyPatch, client: Agent) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert client.controller()["running"]


def test_hits_and_pings_are_typed(client: Agent) -> None:
    list(client.load(LOAD))
    assert client.hits()["h1"][0].client_ip == "10.0.0.3"
    assert client.pingall().loss_percent == 0.0
    client.clear_hits()
    assert client.hits() == {"h1": [], "h2": []}


def test_link_names_a_host_or_two_switches(client: Agent, agent: FakeAgent) -> None:
    client.link("down", host="h2")
    assert agent.bodies["POST /link"] == {"host": "h2", "state": "down"}
