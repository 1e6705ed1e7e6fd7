"""Labs in containers, as the backend brings them up and as `docker compose up` alone does."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.driver import backends
from lab.driver.backends import engine, images, projects, registry
from lab.driver.backends.compose import ComposeBackend, ComposeLab
from lab.driver.backends.compose_command import Compose
from lab.driver.errors import LabError, UsageError

pytestmark = [pytest.mark.compose, pytest.mark.usefixtures("spotless")]

# A driver that brings a lab up, says its project, and waits for its end.
DRIVER = """
import sys
from lab.driver.backends.compose import ComposeBackend
lab = ComposeBackend().up("driver", None, keep=False)
print(lab.project, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lab() -> Iterator[ComposeLab]:
    lab = ComposeBackend().up("test", None, keep=False)
    yield lab
    lab.down()


@pytest.fixture
def own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.05)


def get(lab: ComposeLab, path: str, token: str) -> int:
    request = urllib.request.Request(lab.url + path, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def containers(client: Any, project: str) -> dict[str, Any]:
    found = client.containers.list(all=True, filters={"label": f"{projects.PROJECT}={project}"})
    return {container.labels["com.docker.compose.service"]: container for container in found}


def test_agent_and_supervisor_answer_behind_the_token(lab: ComposeLab) -> None:
    assert lab.alive()
    assert lab.why_dead() == ""
    assert get(lab, "/controller", lab.token) == 200
    assert get(lab, "/controller", "another") == 401


def test_the_agent_alone_is_reached_from_this_machine_and_only_on_loopback(lab: ComposeLab, docker_engine: Any) -> None:
    found = containers(docker_engine, lab.project)
    published = found["mininet"].attrs["NetworkSettings"]["Ports"]
    assert [port["HostIp"] for ports in published.values() for port in ports or ()] == ["127.0.0.1"]
    assert not any((found["controller"].attrs["NetworkSettings"]["Ports"] or {}).values())
    (name,) = found["controller"].attrs["NetworkSettings"]["Networks"]
    assert docker_engine.networks.get(name).attrs["Internal"]


def test_no_container_is_privileged_and_the_controller_is_not_root(lab: ComposeLab, docker_engine: Any) -> None:
    found = containers(docker_engine, lab.project)
    assert not any(container.attrs["HostConfig"]["Privileged"] for container in found.values())
    assert sorted(cap.removeprefix("CAP_") for cap in found["mininet"].attrs["HostConfig"]["CapAdd"]) == [
        "NET_ADMIN",
        "SYS_ADMIN",
    ]
    assert found["controller"].exec_run("id -u").output.strip() == b"6633"


def test_images_hold_no_compiler_and_no_cache(lab: ComposeLab, docker_engine: Any) -> None:
    look = "for f in cc gcc git pip; do command -v $f; done; ls -d /var/lib/apt/lists/* /var/cache/apt/archives/*.deb"
    for container in containers(docker_engine, lab.project).values():
        assert container.exec_run(["sh", "-c", f"({look}) 2>/dev/null"]).output == b""


def test_one_pair_of_images_is_left_of_this_checkout(lab: ComposeLab, docker_engine: Any) -> None:
    ours = {"label": f"balance-lab.tree={images.tree()}"}
    names = {name for image in docker_engine.images.list(filters=ours) for name in image.tags}
    assert names == {f"{name}:{images.own_tag()}" for name in images.NAMES}


def test_the_token_is_in_no_command_line(lab: ComposeLab, docker_engine: Any) -> None:
    for container in containers(docker_engine, lab.project).values():
        processes = container.top(ps_args="-eo pid,args")["Processes"]
        assert processes
        assert not any(lab.token in " ".join(process) for process in processes)


def test_logs_are_there_after_the_end_and_down_can_be_said_twice(lab: ComposeLab) -> None:
    lab.down()
    lab.down()
    assert not lab.alive()
    assert set(lab.logs()) == {"agent.log", "controller.log"}


def test_a_container_that_ended_is_named(lab: ComposeLab, docker_engine: Any) -> None:
    containers(docker_engine, lab.project)["controller"].kill()
    wait_until(lambda: not lab.alive())
    assert "the container controller is no longer running (Exited (137)" in lab.why_dead()


def test_two_labs_of_one_name_run_side_by_side(lab: ComposeLab) -> None:
    other = ComposeBackend().up(lab.name, None, keep=False)
    try:
        assert other.url != lab.url
        assert lab.alive()
        assert other.alive()
    finally:
        other.down()


@pytest.mark.usefixtures("own_registry")
def test_a_kept_lab_is_found_again_and_ends_by_down(docker_engine: Any) -> None:
    first = ComposeBackend().up("kept", None, keep=True)
    first.client.close()
    with pytest.raises(UsageError, match="already running"):
        ComposeBackend().up("kept", None, keep=True)
    entry = registry.find("kept")
    assert entry is not None
    again = ComposeBackend().attach(entry)
    assert again.alive()
    assert get(again, "/controller", again.token) == 200
    again.down()
    assert registry.find("kept") is None


@pytest.mark.usefixtures("own_registry")
def test_down_all_ends_kept_labs_also_one_whose_entry_was_lost(docker_engine: Any) -> None:
    known, lost = (ComposeBackend().up(name, None, keep=True) for name in ("known", "lost"))
    try:
        registry.remove("lost")
        registry.claim("coming", "compose")  # its containers may be up before its entry is complete
        assert backends.down_all() == ["known", lost.project]
        assert registry.find("coming") is not None
        assert not known.alive()
        assert not lost.alive()
    finally:
        known.down()
        lost.down()


@pytest.mark.usefixtures("own_registry")
def test_a_port_in_use_is_one_sentence(docker_engine: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(LabError, match="LAB_PORT can't be used"):
            ComposeBackend(environ={"LAB_PORT": port}).up("taken", None, keep=True)
    assert registry.find("taken") is None


def test_a_killed_drivers_lab_is_removed_by_the_next_but_not_a_living_ones(docker_engine: Any) -> None:
    driver = start_driver()
    with driver:
        assert driver.stdout is not None
        project = driver.stdout.readline().strip()
        assert project not in ComposeBackend().sweep()
        assert len(containers(docker_engine, project)) == 2
        driver.kill()
        driver.wait()
        assert project in ComposeBackend().sweep()
    assert containers(docker_engine, project) == {}


def test_ctrl_c_while_it_starts_leaves_nothing(docker_engine: Any) -> None:
    with start_driver() as driver:
        owner = {"label": f"{projects.OWNER}"}
        mine = f"run {driver.pid} "
        wait_until(lambda: any(n["Labels"][projects.OWNER].startswith(mine) for n in networks(docker_engine, owner)))
        driver.send_signal(signal.SIGINT)
        assert driver.wait(30) != 0


def networks(client: Any, filters: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.api.networks(filters=filters)
    return found


def start_driver() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=images.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def run_scenario(name: str, engine_name: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, "lab/run_lab.py", f"scenarios/{name}.yaml", "--json", "--out", str(out)]
    command += ["--backend", "compose", "--engine", engine_name]
    done = subprocess.run(command, cwd=images.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("engine_name", ["osken", pytest.param("pox", marks=pytest.mark.pox)])
def test_round_robin_gives_each_server_half_at_both_ends(docker_engine: Any, tmp_path: Path, engine_name: str) -> None:
    result = run_scenario("round_robin", engine_name, tmp_path)
    assert result["backend"] == "compose"
    assert result["engine"] == engine_name
    assert result["hits"] == {"h1": {"client": 20, "server": 20}, "h2": {"client": 20, "server": 20}}
    assert result["controller"]["packet_ins"] == 40


@pytest.mark.parametrize("name", ["random", "multi_switch", "server_down"])
def test_the_other_scenarios_hold_what_they_expect(docker_engine: Any, tmp_path: Path, name: str) -> None:
    result = run_scenario(name, "osken", tmp_path)
    assert result["verdict"] == "passed"
    assert all(expectation["passed"] for expectation in result["expectations"])


@pytest.mark.pox
def test_the_tutorial_as_written_hits_both_servers(docker_engine: Any, tmp_path: Path) -> None:
    result = run_scenario("stock_pox", "stock", tmp_path)
    assert result["requests"] == {"sent": 40, "ok": 40, "failed": 0}
    assert all(hits["server"] > 0 for hits in result["hits"].values())


def test_a_checkout_that_others_cant_read_makes_a_controller_that_runs(docker_engine: Any, tmp_path: Path) -> None:
    """As a clone under a umask of 077 is: in the image, another user reads it."""
    for source in ("lab", "images/controller"):
        shutil.copytree(images.ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__", "pox"))
    (tmp_path / "images" / "controller" / "pox").mkdir()
    for source in ("compose.yaml", ".dockerignore"):
        shutil.copy(images.ROOT / source, tmp_path)
    subprocess.run(["chmod", "-R", "go=", str(tmp_path)], check=True)
    tag = f"test-closed-{os.getpid()}"
    image = f"balance-lab/controller:{tag}"
    compose = Compose(engine.compose_command() or [], tmp_path, f"balance-lab-{tag}")
    try:
        built = compose.run("build", "controller", LAB_TAG=tag, LAB_POX_CLONE="no")  # the packages' layer is there
        assert built.returncode == 0, built.stdout
        look = ["docker", "run", "--rm", "--entrypoint", "sh", image, "-c"]
        said = subprocess.run(
            [*look, "entrypoint health; python3 -m lab.engines.supervisor"], capture_output=True, text=True
        ).stderr
        assert "Connection refused" in said  # the health check ran, and nothing listens yet
        assert "supervisor: LAB_TOKEN is not set" in said
    finally:
        subprocess.run(["docker", "image", "rm", "--force", image], capture_output=True)


@pytest.fixture
def alone() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """`docker compose …` by a person, on a project of the test's own."""
    words = engine.compose_command() or []
    environ = {key: value for key, value in os.environ.items() if not key.startswith("LAB_")}
    environ |= {"COMPOSE_PROJECT_NAME": f"balance-lab-alone-{os.getpid()}", "LAB_TAG": "test-alone"}
    environ |= {"LAB_POX_CLONE": "no"}  # whether the repository can be reached is not what's tested

    def compose(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*words, *args], cwd=images.ROOT, env=environ, capture_output=True, text=True)

    yield compose
    compose("down", "--volumes", "--timeout", "1", "--rmi", "local")
    subprocess.run(["docker", "image", "rm", *(f"{name}:test-alone" for name in images.NAMES)], capture_output=True)


def test_compose_up_alone_gives_a_lab_that_says_what_to_try(
    docker_engine: Any, alone: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    up = alone("up", "--detach", "--wait", "--wait-timeout", "90")  # both healthy: network built, engine listening
    assert up.returncode == 0, up.stderr + alone("logs").stdout
    hint = "docker compose exec mininet lab h3 curl http://10.0.1.1/"
    wait_until(lambda: hint in alone("logs", "mininet").stdout)
    answers = [alone("exec", "-T", "mininet", *hint.split()[4:], "-sSfi", "-m", "5") for _ in range(4)]
    assert [answer.returncode for answer in answers] == [0] * 4, answers
    served = [line for answer in answers for line in answer.stdout.splitlines() if line.lower().startswith("x-server")]
    assert len(served) == 4
    assert len(set(served)) == 2
    hits = alone("exec", "-T", "mininet", "lab", "hits").stdout.splitlines()
    assert [line.split()[:2] for line in hits] == [["h1", "2"], ["h2", "2"], ["all", "4"]]
    refused = alone("exec", "-T", "mininet", "lab", "h99", "true")
    assert refused.returncode != 0
    assert "no node 'h99'" in refused.stderr
    port = int(alone("port", "mininet", "8080").stdout.rpartition(":")[2])
    token = alone("exec", "-T", "mininet", "lab", "token").stdout.strip()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/network", headers={"Authorization": f"Bearer {token}"})
    assert connection.getresponse().status == 200
    connection.close()
