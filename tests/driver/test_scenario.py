"""Sound scenarios: defaults, options, what goes over the wire, what is written down, where files are found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab import wire
from lab.balancer.policies import POLICIES as BALANCERS_POLICIES
from lab.driver.errors import UsageError
from lab.driver.scenario import (
    Expect,
    LinkStep,
    LoadStep,
    Range,
    Scenario,
    StepExpect,
    WaitStep,
    json_schema,
    load,
    resolve,
)
from lab.driver.scenario_model import MODES, POLICIES, POLICIES_KEPT

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "lab"
OK = Path(__file__).parent / "data" / "ok"
SOUND = sorted([*OK.glob("*.yaml"), *(LAB / "scenarios").glob("*.yaml")])


def ok(name: str, *sets: str, **options: str) -> Scenario:
    return load(OK / f"{name}.yaml", sets, **options)


def written(tmp_path: Path, text: str, *sets: str, **options: str) -> Scenario:
    (tmp_path / "written.yaml").write_text(text, encoding="utf-8")
    return load(tmp_path / "written.yaml", sets, **options)


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_what_is_written_down_loads_again_as_the_same_scenario(path: Path, tmp_path: Path) -> None:
    first = load(path)
    again = written(tmp_path, first.dump())
    assert again == first
    assert again.dump() == first.dump()
    assert (again.network(), again.controller(), again.steps) == (first.network(), first.controller(), first.steps)


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.stem)
def test_what_goes_over_the_wire_comes_out_the_same(path: Path) -> None:
    scenario = load(path)
    for message in (scenario.network(), scenario.controller(), *(step.load for step in scenario.rounds)):
        assert wire.decode(type(message), json.loads(json.dumps(wire.encode(message)))) == message


def test_a_name_alone_is_the_tutorial() -> None:
    scenario = ok("minimal")
    assert scenario.network() == wire.Network(
        switches=(wire.Switch(name="s1", dpid=1),),
        hosts=tuple(wire.Host(name=f"h{n}", ip=f"10.0.0.{n}/8", mac=f"02:00:0a:00:00:0{n}") for n in range(1, 7)),
        servers=(wire.HttpServer(host="h1"), wire.HttpServer(host="h2")),
    )
    pool = (wire.Server(name="h1", ip="10.0.0.1"), wire.Server(name="h2", ip="10.0.0.2"))
    assert scenario.controller() == wire.Controller(
        services=(wire.Service(name="web", ip="10.0.1.1", servers=pool),), dpid=1
    )
    assert scenario.steps == (
        LoadStep(load=wire.Load(clients=("h3", "h4", "h5", "h6"), url="http://10.0.1.1:80/"), service="web"),
    )
    assert scenario.expect == Expect(hits={"h1": 20, "h2": 20}, failed=0)
    assert scenario.time_limit_s == 60


def test_the_manuals_defaults_are_the_defaults() -> None:
    minimal, everything = ok("minimal", "name=x"), ok("everything", "name=x")
    assert everything.model.model_copy(update={"about": ""}) == minimal.model


@pytest.mark.parametrize(
    ("change", "hits"),
    [
        ("load.requests=400", {"h1": 200, "h2": 200}),
        ("load.requests=41", {}),
        ("services.web.policy=random", {}),
        ("controller.engine=stock", {}),
        ("load.duration_s=3", {}),
        ("load.keepalive=true", {}),
        ("services.web.servers=[h1]", {"h1": 40}),
    ],
)
def test_without_expect_turns_must_work_out_where_they_can(change: str, hits: dict[str, int]) -> None:
    assert ok("minimal", change).expect == Expect(hits=hits, failed=0)


def test_an_expect_that_is_given_asks_for_no_more_than_it_says(tmp_path: Path) -> None:
    assert written(tmp_path, "name: x\nexpect: {failed: 3}").expect == Expect(failed=3)
    assert written(tmp_path, "name: x\nexpect: {hits: {h1: {min: 1}}}").expect == Expect(hits={"h1": Range(min=1)})


def test_steps_that_say_how_many_may_fail_are_not_overruled_by_the_default() -> None:
    assert ok("several_services").expect.failed is None
    assert load("scenarios/server_down.yaml").expect.failed == 0


def test_time_alone_ends_a_load_that_names_no_requests(tmp_path: Path) -> None:
    (round_,) = written(tmp_path, "name: x\nload: {duration_s: 3}").rounds
    assert (round_.load.requests, round_.load.duration_s) == (None, 3.0)
    (round_,) = written(tmp_path, "name: x\nload: {duration_s: 3, requests: 40}").rounds
    assert (round_.load.requests, round_.load.duration_s) == (40, 3.0)


def test_steps_come_typed_and_in_order() -> None:
    scenario = load("scenarios/server_down.yaml")
    kinds = [type(step) for step in scenario.steps]
    assert kinds == [LoadStep, LinkStep, WaitStep, LoadStep, LinkStep, WaitStep, LoadStep]
    assert scenario.steps[1:3] == (LinkStep(state="down", host="h2"), WaitStep(server="h2", state="down", timeout_s=3))
    assert [step.expect for step in scenario.rounds] == [
        StepExpect(hits={"h1": 10, "h2": 10}),
        StepExpect(hits={"h1": 20, "h2": 0}),
        StepExpect(hits={"h1": 10, "h2": 10}),
    ]
    assert scenario.requests == 60


def test_several_services_share_hosts_and_each_has_its_pool() -> None:
    scenario = ok("several_services")
    assert [(s.host, s.port) for s in scenario.network().servers] == [
        ("h1", 80), ("h2", 80), ("h1", 8080), ("h2", 8080), ("h2", 81), ("h3", 81),
    ]  # fmt: skip
    assert scenario.servers == {"web": {"h1": 3, "h2": 1}, "api": {"h1": 1, "h2": 1}, "more": {"h2": 2, "h3": 2}}
    assert scenario.policies == {"web": "random", "api": "round_robin", "more": "round_robin"}
    assert [step.load.url for step in scenario.rounds] == [
        "http://10.0.1.1:80/", "http://10.0.1.1:8080/", "http://10.0.1.1:80/",
    ]  # fmt: skip
    assert scenario.needs_pingall


def test_words_that_old_yaml_takes_for_something_else_are_texts() -> None:
    assert (ok("texts").name, ok("texts").about) == ("007", "no")
    assert ok("linear").network().hosts[2].mac == "10:00:00:00:00:01"


def test_stock_pox_runs_at_random_whatever_the_default_says() -> None:
    scenario = load("scenarios/stock_pox.yaml")
    assert (scenario.engine, scenario.policy) == ("stock", "random")
    assert scenario.controller().services[0].policy == "random"


def test_options_win_over_set_and_set_over_the_file() -> None:
    assert ok("everything", "controller.engine=osken").engine == "osken"
    assert ok("everything", "controller.engine=osken", engine="pox").engine == "pox"
    assert ok("everything", "load.requests=4", "load.requests=8").requests == 8


def test_policy_holds_for_every_service(tmp_path: Path) -> None:
    text = "name: x\nservices: {web: {}, api: {ip: 10.0.1.2, port: 81}}\nexpect: {}"
    assert written(tmp_path, text, policy="random").policies == {"web": "random", "api": "random"}
    assert ok("minimal", policy="random").policies == {"web": "random"}


def test_set_reaches_into_lists_and_short_forms() -> None:
    steps = load("scenarios/server_down.yaml", ["steps.3.load.requests=30", "steps.2.wait.timeout_s=1.5"]).steps
    assert steps[3].load.requests == 30  # type: ignore[union-attr]
    assert steps[2] == WaitStep(server="h2", state="down", timeout_s=1.5)
    network = ok("minimal", "topology.hosts.h2.ip=10.0.0.77", "services.web.servers.h1.delay_ms=5").network()
    assert [host.ip for host in network.hosts[:3]] == ["10.0.0.1/8", "10.0.0.77/8", "10.0.0.3/8"]
    assert [server.delay_ms for server in network.servers] == [5, 0]
    more = ok("minimal", "topology.hosts.h7.switch=s1", "services.api.port=81", "load.clients.0=h7")
    assert [host.name for host in more.network().hosts] == [f"h{n}" for n in range(1, 8)]
    assert list(more.policies) == ["web", "api"]
    assert more.rounds[0].load.clients == ("h7", "h4", "h5", "h6")


def test_set_takes_yaml_values() -> None:
    scenario = ok("everything", "expect.hits={h1: {min: 3}}", "load.clients=[h3]", "load.keepalive=true")
    assert scenario.expect.hits == {"h1": Range(min=3)}
    assert scenario.rounds[0].load.clients == ("h3",)
    assert scenario.rounds[0].load.keepalive is True


@pytest.mark.parametrize("name", ["round_robin", "random", "stock_pox", "multi_switch", "server_down"])
def test_the_kits_scenarios_are_found_from_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = load(f"scenarios/{name}.yaml")
    assert scenario.name == name
    assert scenario.about.endswith(".")
    first = scenario.path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../scenario.schema.json"


def test_a_file_in_the_current_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "round_robin.yaml").write_text("name: mine", encoding="utf-8")
    assert load("scenarios/round_robin.yaml").name == "mine"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("scenarios/raund_robin.yaml", 'did you mean scenarios/round_robin.yaml? known: scenarios/'),
        ("nothing/like/it", 'no scenario file "nothing/like/it"; known: '),
        ("scenarios", '"scenarios" is a folder: name a scenario file in it'),
        ("x\0y", "no scenario file "),
        ("x" * 5000, "no scenario file "),
        ("", "is a folder"),
    ],
)  # fmt: skip
def test_a_path_that_is_no_file_gets_a_sentence(path: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UsageError, match=r"can't read .*minimal.yaml.*: Permission denied"):
        ok("minimal")


def test_a_servers_own_health_settings_win_over_the_services() -> None:
    scenario = ok("health")
    (service,) = scenario.controller().services
    assert service.health == wire.Health(
        kind="http", path="/ready", status=204, interval_s=0.5, timeout_s=0.2, slow_start_s=10
    )
    own, plain = service.servers
    assert own.health == wire.Health(kind="tcp", interval_s=2, timeout_s=0.2, slow_start_s=10)
    assert plain.health is None


def test_the_schema_file_is_the_one_that_the_models_make() -> None:
    assert json.loads((LAB / "scenario.schema.json").read_text(encoding="utf-8")) == json_schema()


def test_every_policy_is_kept_by_a_mode_and_every_mode_keeps_one() -> None:
    assert set(POLICIES) == {policy for kept in POLICIES_KEPT.values() for policy in kept}
    assert all(POLICIES_KEPT[mode] for mode in MODES)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("round_robin", "mode tracked can't keep policy round_robin: use mode reactive, or source_hash [policy]"),
        (f"{LAB}/scenarios/policies/even_odd.py:EvenOdd", "asks no plug-in: use mode reactive [policy]"),
        ("source_hash", None),
    ],
)
def test_a_policy_that_the_mode_cannot_keep_is_refused_with_the_modes_that_can(
    monkeypatch: pytest.MonkeyPatch, policy: str, message: str | None
) -> None:
    kept = {"reactive": POLICIES_KEPT["reactive"], "tracked": ("source_hash",)}
    monkeypatch.setattr("lab.driver.scenario_policy_checks.POLICIES_KEPT", kept)
    assert ok("minimal", policy=policy, mode="reactive").policy == policy.rpartition("/")[2]
    if message is None:
        assert ok("minimal", policy=policy, mode="tracked").mode == "tracked"
        return
    with pytest.raises(UsageError) as caught:
        ok("minimal", policy=policy, mode="tracked")
    assert message in str(caught.value)


def test_help_needs_no_pydantic() -> None:
    code = (
        "import sys; from lab.driver.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('pydantic', 'yaml') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]")


# policies of the user's own


EVEN_ODD = LAB / "scenarios" / "policies" / "even_odd.py"


def test_a_policy_of_ones_own_is_found_beside_the_scenario_and_sent_along(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EVEN_ODD.read_text(encoding="utf-8"), encoding="utf-8")
    scenario = written(tmp_path, "name: x\nservices: {web: {policy: './mine.py:EvenOdd'}}\n")
    sent = scenario.controller()
    assert sent.services[0].policy == scenario.policy == "mine.py:EvenOdd"
    (plugin,) = sent.plugins
    assert (plugin.name, plugin.file, plugin.class_name) == ("mine.py:EvenOdd", "mine.py", "EvenOdd")
    assert plugin.source == EVEN_ODD.read_text(encoding="utf-8")


def test_a_policy_of_the_command_line_is_found_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EVEN_ODD.parent)
    name = "even_odd.py:EvenOdd"
    for scenario in (ok("minimal", policy=name), ok("minimal", f"services.web.policy={name}")):
        assert scenario.policies == {"web": name}


def test_a_run_with_a_policy_of_ones_own_can_be_repeated_from_its_folder(tmp_path: Path) -> None:
    scenario = ok("minimal", policy=f"{EVEN_ODD}:EvenOdd")
    assert written(tmp_path, scenario.dump()) == scenario


def test_two_policies_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(EVEN_ODD.read_text(encoding="utf-8"), encoding="utf-8")
    text = "name: x\nservices: {web: {policy: 'a/mine.py:EvenOdd'}, api: {port: 81, policy: 'b/mine.py:EvenOdd'}}\n"
    sent = written(tmp_path, text).controller()
    assert len({plugin.name for plugin in sent.plugins}) == 2
    assert [service.policy for service in sent.services] == [plugin.name for plugin in sent.plugins]


def test_settings_of_the_connection_table_reach_the_controller(tmp_path: Path) -> None:
    text = "name: x\ncontroller: {connections: {bound: 10, on_server_down: rebalance}, hash_table_size: 251}\n"
    sent = written(tmp_path, text).controller()
    assert sent.connections == wire.Connections(bound=10, on_server_down="rebalance")
    assert sent.hash_table_size == 251
    assert ok("minimal").controller().connections == wire.Connections()


def test_the_drivers_policies_are_the_balancers() -> None:
    assert set(POLICIES) == set(BALANCERS_POLICIES)


def test_a_udp_service_gets_servers_and_requests_of_its_own_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\nservers: {kind: nginx}\n"
        "services: {web: {port: 53}, dns: {port: 53, protocol: udp, servers: {h1: {delay_ms: 5}, h2: {}}}}\n"
        "steps: [{load: {service: dns}}, {load: {}}]\n"
    )
    scenario = load(path)
    assert [round.load.url for round in scenario.rounds] == ["udp://10.0.1.1:53/", "http://10.0.1.1:53/"]
    servers = scenario.network().servers
    assert [(s.host, s.protocol, s.kind, s.delay_ms) for s in servers] == [
        ("h1", "tcp", "nginx", 0),
        ("h2", "tcp", "nginx", 0),
        ("h1", "udp", "python", 5),
        ("h2", "udp", "python", 0),
    ]
    assert [service.protocol for service in scenario.controller().services] == ["tcp", "udp"]


def test_a_range_of_ports_is_served_asked_and_balanced_as_a_whole() -> None:
    scenario = load("scenarios/port_range.yaml")
    many, web = scenario.controller().services
    assert ((many.port, many.last_port), (web.port, web.last_port)) == ((8000, 8010), (80, None))
    assert {(s.port, s.last_port) for s in scenario.network().servers} == {(8000, 8010), (80, None)}
    first, second = (round.load for round in scenario.rounds)
    assert (first.url, first.last_port) == ("http://10.0.1.1:8000/", 8010)
    assert (second.url, second.last_port) == ("http://10.0.1.1:80/", None)


def test_hosts_have_ipv6_addresses_where_a_service_has_one(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: x\ntopology:\n"
        "  hosts: {h1: {}, h2: {ip6: 'fd00::77/64'}, h3: {}, h12: {}, a: {ip6: 'FD00:0::2/80'}, b: {}}\n"
        "services: {web: {}, six: {ip: 'FD00:0::1:1'}}\nload: {clients: [h3], service: six}\n"
    )
    scenario = load(path)
    assert {host.name: host.ip6 for host in scenario.network().hosts} == {
        "h1": "fd00::1/64",
        "h2": "fd00::77/64",
        "h3": "fd00::3/64",
        "h12": "fd00::12/64",
        "a": "fd00::2/80",
        "b": "fd00::4/64",  # the lowest that is free
    }
    six = scenario.controller().services[1]
    assert (six.ip, [server.ip for server in six.servers]) == ("fd00::1:1", ["fd00::1", "fd00::77"])
    assert scenario.rounds[0].load.url == "http://[fd00::1:1]:80/"
    assert [(s.host, s.port) for s in scenario.network().servers] == [("h1", 80), ("h2", 80)]  # one answers for both
