"""Whatever the text, the outcome is a Scenario or a UsageError; whatever the scenario, its dump is the same one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.driver.errors import UsageError
from lab.driver.scenario import Scenario, load
from lab.driver.scenario_model import POLICIES, ScenarioModel
from lab.driver.scenario_source import write_yaml

FILES = sorted((Path(__file__).parent / "data").glob("*/*.yaml"))
TEXTS = [path.read_text(encoding="utf-8") for path in FILES]
WORDS = sorted({word for text in TEXTS for word in re.findall(r"[A-Za-z_]\w*", text)})
quick = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "any.yaml"


def outcome(path: Path, content: bytes, *sets: str) -> Scenario | str:
    path.write_bytes(content)
    try:
        return load(path, sets)
    except UsageError as error:
        text = str(error)
    assert text
    assert all(c.isprintable() or c == "\n" for c in text)
    return text


@quick
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_any_bytes_are_a_scenario_or_a_usage_error(path: Path, content: bytes) -> None:
    outcome(path, content)
    outcome(path, b"name: x\n" + content)


keys = st.sampled_from([*ScenarioModel.model_fields, *WORDS])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 70_000), st.floats(), st.sampled_from(WORDS), st.text(max_size=5)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)


@quick
@given(st.dictionaries(keys, values, max_size=6))
def test_any_mapping_of_right_and_wrong_words_is_a_scenario_or_a_usage_error(path: Path, data: dict[str, Any]) -> None:
    outcome(path, write_yaml({"name": "x", **data}).encode())


@quick
@given(
    st.sampled_from(TEXTS), st.integers(0, 10**6), st.integers(0, 6), st.text("{}[]:,-&*!#'\"\t\n h1x0.", max_size=6)
)
def test_a_file_with_a_slip_of_the_keyboard_is_a_scenario_or_a_usage_error(
    path: Path, text: str, at: int, cut: int, put: str
) -> None:
    at %= len(text) + 1
    outcome(path, (text[:at] + put + text[at + cut :]).encode())


@quick
@given(
    st.sampled_from(TEXTS),
    st.lists(st.sampled_from([*WORDS, "0", "1", "h1", "web"]), min_size=1, max_size=4),
    st.one_of(st.text(max_size=8), scalars.map(str), st.sampled_from(["[h1, h2]", "{h1: 3}", "[", "*a", "&a [*a]"])),
)
def test_any_set_is_taken_or_refused_with_a_sentence(path: Path, text: str, steps: list[str], value: str) -> None:
    outcome(path, text.encode(), f"{'.'.join(steps)}={value}")


hosts = [f"h{number}" for number in range(1, 9)]
loads = st.fixed_dictionaries(
    {"clients": st.lists(st.sampled_from(hosts[4:]), min_size=1, max_size=3)},
    optional={
        "requests": st.integers(1, 500),
        "duration_s": st.floats(0.1, 5),
        "rate": st.floats(500, 5000),
        "concurrency": st.integers(1, 1024),
        "keepalive": st.booleans(),
        "timeout_s": st.floats(1e-6, 10),
        "service": st.sampled_from(["web", "api"]),
    },
)
server_lists = st.lists(st.sampled_from(hosts[:3]), min_size=1, max_size=3, unique=True)
services = st.fixed_dictionaries(
    {"policy": st.sampled_from(POLICIES)},
    optional={"servers": server_lists | server_lists.map(lambda names: {name: {"delay_ms": 7} for name in names})},
)
hits = st.dictionaries(
    st.sampled_from(hosts[:1]), st.integers(0, 99) | st.fixed_dictionaries({"max": st.integers(0, 9)})
)
expects = st.fixed_dictionaries(
    {}, optional={"hits": hits, "failed": st.none() | st.integers(0, 9), "pingall_loss": st.floats(0, 100)}
)
steps = st.lists(
    st.one_of(
        loads.map(lambda load: {"load": load}),
        st.sampled_from(hosts).map(lambda host: {"link": {"host": host, "state": "down"}}),
        st.just({"wait": {"server": "h1", "state": "up"}}),
    ),
    min_size=1,
    max_size=4,
)
scenarios = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True),
        "topology": st.fixed_dictionaries({"hosts": st.integers(8, 12)}, optional={"switches": st.just(1)}),
        "services": st.fixed_dictionaries(
            {
                "web": services,
                "api": services.map(lambda service: {"ip": "10.0.1.2", "servers": ["h1"], **service, "port": 81}),
            }
        ),
    },
    optional={
        "about": st.text(),
        "controller": st.fixed_dictionaries(
            {"seed": st.none() | st.integers(0, 9), "idle_timeout_s": st.integers(1, 9)}
        ),
        "expect": expects,
        "time_limit_s": st.floats(100, 1e4),
    },
).flatmap(lambda base: loads.map(lambda load: {**base, "load": load}) | steps.map(lambda s: {**base, "steps": s}))


@quick
@given(scenarios)
def test_the_dump_of_any_scenario_is_the_same_scenario(path: Path, data: dict[str, Any]) -> None:
    first = outcome(path, write_yaml(data).encode())
    if isinstance(first, str):  # a server that isn't in the pool of the day, or what one connection or mode can't keep
        assert any(f"[{slug}]" in first for slug in ("no-server", "keepalive", "policy"))
        return
    again = outcome(path, first.dump().encode())
    assert again == first
    assert isinstance(again, Scenario)
    assert again.dump() == first.dump()
    assert (again.network(), again.controller(), again.steps) == (first.network(), first.controller(), first.steps)
