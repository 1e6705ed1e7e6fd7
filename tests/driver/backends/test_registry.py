"""The register of kept labs: private, whole entries, only living labs, and nothing ended that isn't ours."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.driver import backends
from lab.driver.backends import processes, registry, sandbox
from lab.driver.backends.base import Missing
from lab.driver.backends.compose import ComposeBackend
from lab.driver.backends.registry import Entry
from lab.driver.errors import LabError, UsageError

NOT_RUNNING = "an earlier boot/1"


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def an_entry(name: str = "one", pid: int | None = None, **fields: object) -> Entry:
    pid = pid or os.getpid()
    entry = Entry(name=name, backend="sandbox", url="http://127.0.0.1:1", pid=pid, identity=processes.identity(pid))
    return replace(entry, **fields)


def test_folder_and_entries_are_the_users_alone(runtime: Path) -> None:
    (runtime / "balance-lab").mkdir(mode=0o777)
    registry.save(an_entry(token="secret"))
    registry.create_log("one", "agent.log").close()
    folder = runtime / "balance-lab"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "one.json": 0o600,
        "one.agent.log": 0o600,
    }


def test_an_entry_is_read_as_it_was_written() -> None:
    entry = an_entry(token="secret", started=12.5)
    registry.save(entry)
    assert registry.find("one") == entry
    registry.set_scenario("one", "round_robin")
    assert registry.find("one") == replace(entry, scenario="round_robin")
    assert registry.find("two") is None


def test_the_newest_lab_that_is_ready_is_the_default() -> None:
    assert registry.newest() is None
    registry.save(an_entry("new", started=2.0))
    registry.save(an_entry("old", started=1.0))
    registry.save(an_entry("coming-up", started=3.0, url=""))
    newest = registry.newest()
    assert newest is not None
    assert newest.name == "new"
    assert [entry.name for entry in registry.entries()] == ["coming-up", "new", "old"]


def test_entries_of_dead_labs_go_with_their_logs(runtime: Path) -> None:
    registry.save(an_entry(identity=NOT_RUNNING))
    registry.create_log("one", "agent.log").close()
    assert registry.entries() == []
    assert list((runtime / "balance-lab").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"name": "one"}'])
def test_an_entry_that_can_not_be_read_is_removed(runtime: Path, text: str) -> None:
    path = registry.folder() / "one.json"
    path.write_text(text)
    assert registry.entries() == []
    assert not path.exists()


def test_an_entry_of_a_newer_kit_is_read_without_what_it_adds() -> None:
    registry.save(an_entry())
    path = registry.folder() / "one.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    assert registry.find("one") == an_entry()


def test_a_name_is_given_once_while_its_lab_lives() -> None:
    claimed = registry.claim("one", "sandbox")
    with pytest.raises(UsageError, match="one is already running"):
        registry.claim("one", "sandbox")
    registry.save(replace(claimed, identity=NOT_RUNNING))
    registry.claim("one", "sandbox")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a b", "-x", "x" * 64])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="can't name a lab"):
        registry.claim(name, "sandbox")


def test_another_users_runtime_folder_is_passed_over(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LabError, match="XDG_RUNTIME_DIR"):  # nothing that is made here belongs to 12345
        registry.folder()
    assert not (runtime / "balance-lab").exists()


def test_without_a_runtime_folder_the_cache_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "not there"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = tmp_path / "cache" / "balance-lab" / "labs"
    assert registry.folder() in (here, Path(f"/run/user/{os.geteuid()}/balance-lab"))


def test_down_ends_what_the_entry_names(sleeper: subprocess.Popen[bytes]) -> None:
    registry.save(an_entry(pid=sleeper.pid))
    assert backends.down_all() == ["one"]
    assert sleeper.wait(5) < 0
    assert registry.entries() == []


def test_down_spares_a_process_that_only_has_the_same_number(sleeper: subprocess.Popen[bytes]) -> None:
    backends.attach(an_entry(pid=sleeper.pid, identity=NOT_RUNNING)).down()
    assert sleeper.poll() is None


def test_a_kept_lab_that_cant_be_ended_stays_in_the_register_and_the_others_go(
    sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = an_entry("stuck", pid=sleeper.pid), an_entry("other")
    for entry in (stuck, other):
        registry.save(entry)
    monkeypatch.setattr(sandbox, "terminate", lambda pid, who: pid != sleeper.pid)
    monkeypatch.setattr(ComposeBackend, "sweep", lambda self: [])
    with pytest.raises(LabError, match=f"^process {sleeper.pid}, .* the lab stuck, .* kill -9 {sleeper.pid}$"):
        backends.down_all()
    assert registry.entries() == [stuck]


def test_what_ignores_sigterm_is_killed() -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(["sh", "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        who = processes.identity(process.pid)
        assert who is not None
        assert processes.terminate(process.pid, who, grace_s=0.1)
        assert process.wait(5) == -9


def test_a_zombie_is_not_running() -> None:
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert processes.identity(process.pid) is None


class Compose:
    """A compose backend of which the test says what is missing."""

    def __init__(self, *gaps: Missing) -> None:
        self._gaps = list(gaps)

    def missing(self) -> list[Missing]:
        return self._gaps


def test_auto_is_compose_where_it_runs_and_else_the_sandbox_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    named = backends._named
    here = Compose()
    monkeypatch.setattr(backends, "_named", lambda name: here if name == "compose" else named(name))
    assert backends.choose("auto") == (here, "a Docker engine and Compose v2 answer")
    here = Compose(Missing(what="no Docker engine answers", mend="start it"))
    backend, why = backends.choose("auto")
    assert (backend.name, why) == ("sandbox", "no compose here: no Docker engine answers")


def test_a_backend_by_name() -> None:
    backend, why = backends.choose("sandbox")
    assert (backend.name, why) == ("sandbox", "asked for")
    with pytest.raises(UsageError, match="auto, compose, sandbox"):
        backends.choose("podman")
