"""The compose backend's parts that need no engine: what is missing, the images' tag, owners, and error sentences."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import docker.errors
import pytest

from lab.driver import base_image
from lab.driver.backends import engine, images, projects
from lab.driver.backends.compose import ComposeBackend, ComposeLab, explain_failed_start
from lab.driver.errors import LabError, LeftBehind, UsageError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with no Docker configuration and no commands; gives the folder that is its PATH."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(engine, "_PLUGIN_FOLDERS", ())
    (tmp_path / "bin").mkdir()
    (tmp_path / "config").mkdir()
    return tmp_path / "bin"


def command(folder: Path, name: str, says: str = "") -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(0o755)


def test_no_socket_is_told_at_once_with_the_command_that_mends(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    start = time.perf_counter()
    gaps = ComposeBackend().missing()
    assert time.perf_counter() - start < 0.1
    assert [gap.what for gap in gaps] == [
        f"no Docker engine runs (unix://{tmp_path}/none.sock is not there)",
        "Compose v2 is not installed",
    ]
    assert "docker.io" in gaps[0].mend
    assert "docker-compose-v2" in gaps[1].mend


def test_a_socket_where_nothing_listens_is_an_engine_that_does_not_answer(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file.sock").touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/file.sock")
    gap = engine.missing_engine()
    assert gap is not None
    assert "does not answer" in gap.what


def test_an_address_where_nothing_listens_is_told_by_its_cause(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    gap = engine.missing_engine()
    assert gap is not None
    assert gap.what == "the Docker engine at tcp://127.0.0.1:1 does not answer (Connection refused)"


def test_the_engine_of_the_chosen_context_is_asked(bare: Path, tmp_path: Path) -> None:
    folder = tmp_path / "config" / "contexts" / "meta" / hashlib.sha256(b"desktop").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Endpoints": {"docker": {"Host": "unix:///somewhere/else.sock"}}}))
    assert engine.endpoint() == "unix:///var/run/docker.sock"
    (tmp_path / "config" / "config.json").write_text('{"currentContext": "desktop"}')
    assert engine.endpoint() == "unix:///somewhere/else.sock"


def test_compose_is_the_plug_in_or_a_binary_of_version_2(bare: Path, tmp_path: Path) -> None:
    command(bare, "docker-compose", "1.29.2")
    assert engine.compose_command() is None
    gap = engine.missing_compose()
    assert gap is not None
    assert "version 1" in gap.what
    command(bare, "docker-compose", "v2.40.3")
    assert engine.compose_command() == [str(bare / "docker-compose")]
    command(bare, "docker")
    plugins = tmp_path / "config" / "cli-plugins"
    plugins.mkdir()
    command(plugins, "docker-compose")
    assert engine.compose_command() == ["docker", "compose"]


def test_base_image_says_what_it_needs(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(LabError, match="no Docker engine runs"):
        base_image.make()
    monkeypatch.setattr(engine, "missing_engine", lambda: None)
    with pytest.raises(LabError, match="mmdebstrap is not installed: sudo apt-get install"):
        base_image.make()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the folders that go into the images."""
    for name in ("images", "lab"):
        ignored = shutil.ignore_patterns("__pycache__", "driver", "report", "pox")
        shutil.copytree(images.ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("compose.yaml", ".dockerignore"):
        shutil.copy(images.ROOT / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", ["images/controller/pox/pox.py", "lab/engines/new.py", "images/mininet/entrypoint"])
def test_a_source_that_changes_changes_the_images_tag(checkout: Path, path: str) -> None:
    before = images.source_hash(checkout, {})
    target = checkout / path
    target.parent.mkdir(exist_ok=True)
    target.write_text("# another text")
    assert images.source_hash(checkout, {}) != before


def test_what_is_not_in_the_images_leaves_their_tag(checkout: Path) -> None:
    before = images.source_hash(checkout, {})
    for path in ("lab/agent/__pycache__/a.pyc", "lab/scenarios/mine.yaml", "README.md"):
        (checkout / path).parent.mkdir(exist_ok=True)
        (checkout / path).write_text("text")
    assert images.source_hash(checkout, {}) == before
    assert images.source_hash(checkout, {"LAB_DEBIAN": "debian:trixie-slim"}) != before


def test_a_base_image_that_cant_be_pulled_names_the_command_that_makes_it() -> None:
    output = (
        "#3 [controller internal] load metadata for docker.io/library/debian:bookworm-slim\n"
        '#3 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/": no such host\n'
    )
    assert "`python lab/run_lab.py base-image`" in images.explain_failed_build(output)


def test_another_failed_build_tells_its_last_line() -> None:
    output = "#3 [internal] load metadata for x\n#9 ERROR: process did not complete\nE: Unable to locate package curl\n"
    assert images.explain_failed_build(output).endswith("E: Unable to locate package curl")


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("x\nBind for 127.0.0.1:8080 failed: port is already allocated", "LAB_PORT can't be used"),
        ('error gathering device information while adding custom device "/dev/net/tun"', "sudo modprobe tun"),
        ("could not find an available, non-overlapping IPv4 address pool", "docker network prune"),
        ("something else", "the containers can't be started: something else"),
    ],
)
def test_a_failed_start_is_one_sentence(output: str, sentence: str) -> None:
    assert sentence in explain_failed_start(output)


def test_a_run_whose_driver_is_gone_is_an_orphan() -> None:
    code = "from lab.driver.backends import projects; print(projects.owner(keep=False))"
    gone = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=images.ROOT).stdout.strip()
    assert projects.is_orphan(gone)


def test_living_drivers_and_those_that_cant_be_seen_keep_their_labs() -> None:
    mine = projects.owner(keep=False)
    assert not projects.is_orphan(mine)
    kind, _, namespace, who = mine.split()
    assert not projects.is_orphan(f"{kind} 999999 1 {who}")
    assert not projects.is_orphan(f"{kind} 999999 {namespace} another-boot/1")
    assert not projects.is_orphan(projects.owner(keep=True))
    assert not projects.is_orphan("")
    assert projects.is_orphan(f"{kind} {os.getpid()} {namespace} {who}0")


class Stubborn:
    """An engine that lists a container, a network and a volume, and removes none of them."""

    def __init__(self) -> None:
        self.api = self

    def containers(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Id": "1", "Names": ["/lab-mininet-1"], "Labels": {"com.docker.compose.service": "mininet"}}]

    def networks(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Id": "2", "Name": "lab_door"}]

    def volumes(self, **_: Any) -> dict[str, Any]:
        return {"Volumes": [{"Name": "lab_token"}]}

    def logs(self, *_: Any) -> bytes:
        return b"last words\n"

    def remove(self, *_: Any, **options: Any) -> None:
        raise docker.errors.APIError("it is busy")

    def close(self) -> None:
        raise AssertionError("it is needed again")

    remove_container = remove_network = remove_volume = remove


def test_what_the_engine_does_not_remove_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projects, "_GONE_S", 0.0)
    lab = ComposeLab(cast(Any, Stubborn()), "balance-lab-x", "x", "", "t", kept=False)
    named = "the container lab-mininet-1, the network lab_door, the volume lab_token can't be removed: "
    for _ in range(2):  # and again when it is asked again
        with pytest.raises(LeftBehind) as raised:
            lab.down()
        assert str(raised.value) == f"{named}docker compose --project-name balance-lab-x down --volumes"


def test_an_engine_that_ends_before_the_lab_leaves_the_command_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise docker.errors.DockerException("connection refused")

    monkeypatch.setattr(projects, "remove", gone)
    lab = ComposeLab(cast(Any, Stubborn()), "balance-lab-x", "x", "", "t", kept=False)
    with pytest.raises(LeftBehind, match="docker compose --project-name balance-lab-x down --volumes"):
        lab.down()


@pytest.mark.parametrize("port", ["http", "-1", "70000"])
def test_a_port_that_is_none_is_refused_before_anything_starts(port: str) -> None:
    with pytest.raises(UsageError, match="LAB_PORT"):
        ComposeBackend(environ={"LAB_PORT": port}).up("refused", None, keep=False)
