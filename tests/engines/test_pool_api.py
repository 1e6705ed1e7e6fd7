"""The pool and the metrics over the supervisor's HTTP API, with a real engine behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from test_process import Supervisor, controller, wait_until

from lab import wire

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """One supervisor for all tests, since a start takes its time."""
    supervisor = Supervisor(tmp_path_factory.mktemp("state"))
    try:
        wait_until(lambda: supervisor.call("GET", "/health")[0] == 200)
        yield supervisor
    finally:
        supervisor.stop()


@pytest.fixture
def running(api: Supervisor) -> Supervisor:
    """With the tutorial's pool."""
    status, pool = api.call("GET", "/controller/pool")
    if status != 200 or list(pool["services"]["web"]["servers"]) != ["h1", "h2"]:
        assert api.call("PUT", "/controller", controller())[0] == 200
    return api


def test_pool_is_changed_and_listed(api: Supervisor) -> None:
    (web,) = wire.default_controller().services
    heeding = controller(services=(dataclasses.replace(web, policy="weighted_round_robin"),))
    assert api.call("PUT", "/controller", heeding)[0] == 200
    assert api.call("POST", "/controller/pool/web/h3/add", {"ip": "10.0.0.3", "weight": 2})[0] == 200
    assert api.call("POST", "/controller/pool/web/h3/weight", {"weight": 3})[1]["weight"] == 3
    assert api.call("POST", "/controller/pool/web/h2/drain")[1]["admin"] == "maint"
    assert api.call("POST", "/controller/pool/web/h1/remove")[1]["admin"] == "gone"
    status, pool = api.call("GET", "/controller/pool")
    assert status == 200
    servers = pool["services"]["web"]["servers"]
    assert {name: (s["admin"], s["weight"]) for name, s in servers.items()} == {"h2": ("maint", 1), "h3": ("ready", 3)}
    assert api.call("POST", "/controller/pool/web/h2/enable")[1]["admin"] == "ready"
    assert "web: h1 (10.0.0.1) is removed" in api.call("GET", "/controller/log")[1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", "web/h22/drain", None, 404, "service 'web' has no server 'h22': did you mean 'h2'? known: h1, h2"),
        ("POST", "wbe/h2/remove", None, 404, "there is no service 'wbe': did you mean 'web'? known: web"),
        ("POST", "web/h2/add", {"ip": "10.0.0.2"}, 409, "h2 (10.0.0.2) is in the pool of 'web' already"),
        ("POST", "web/h2/weight", {"weight": 3}, 409, "heeds no weights; weighted_round_robin, random, "),
        ("POST", "web/h3/add", {"ip": "10.0.0.3", "weight": 2}, 409, "the policy of 'web', round_robin, heeds no"),
        ("POST", "web/h3/add", {"ip": "h3"}, 400, "'h3'"),
        ("POST", "web/h3/add", {}, 400, "'ip' is missing"),
        ("POST", "web/h2/weight", {"weight": 257}, 400, "a weight is a whole number from 1 to 256, not 257"),
        ("POST", "web/h2/weight", {"weigth": 2}, 400, "unknown key 'weigth'"),
        ("POST", "web/h2/weight", "{", 400, "the body isn't JSON"),
        ("POST", "web/h2/weight", "[" * 100_000, 400, "the body isn't JSON"),
        ("POST", "web/h2/explode", None, 400, "unknown action 'explode'; known: add, drain, enable, remove, weight"),
        ("PUT", "web/h2/add", {"ip": "10.0.0.2"}, 405, "method not allowed"),
    ],
)
def test_what_is_wrong_is_4xx_with_a_sentence(
    running: Supervisor, method: str, path: str, body: Any, status: int, sentence: str
) -> None:
    code, answer = running.call(method, f"/controller/pool/{path}", body)
    assert code == status
    assert sentence in answer["error"]


def test_no_pool_without_a_controller_but_metrics_say_so(api: Supervisor) -> None:
    api.call("DELETE", "/controller")
    assert api.call("GET", "/controller/pool") == (409, {"error": "no controller is running"})
    assert "balance_lab_controller_up 0.0" in api.call("GET", "/metrics")[1]


def test_metrics_are_behind_the_token_and_at_both_places(running: Supervisor) -> None:
    for path in ("/metrics", "/controller/metrics"):
        assert running.call("GET", path, token="wrong")[0] == 401
        status, text = running.call("GET", path)
        assert status == 200
        assert "# TYPE balance_lab_server_connections_total counter" in text
        assert 'balance_lab_server_admin{server="h1",service="web",state="ready"} 1.0' in text
