"""The sandbox with stand-ins for agent and supervisor: what is private in it, and that nothing is left on the host."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import stand_in
from stand_in import facts, processes, spaces_in_use, spaces_of, wait_until

from lab.driver.backends import registry, requirements, sandbox
from lab.driver.backends.processes import identity
from lab.driver.errors import LabError, LeftBehind, UsageError

ROOT = Path(__file__).parents[3]
AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")

pytestmark = pytest.mark.sandbox


@pytest.fixture(autouse=True, scope="module")
def _namespaces() -> None:
    if requirements.needs_user_namespace() and not requirements.user_namespace_works():
        pytest.skip(requirements.userns_refused().what)


@pytest.fixture
def mark() -> str:
    """In the command line of each process of a lab, and the name of what it leaves: links have 15 letters at most."""
    return f"lab{secrets.token_hex(4)}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of our own for the registry and for temporary files."""
    for name, variable in (("runtime", "XDG_RUNTIME_DIR"), ("temporary", "TMPDIR")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def clone() -> Iterator[Path]:
    """The kit freshly cloned into /tmp, in a folder with spaces in its name, readable for all."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="a fresh clone ") as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(ROOT / "lab", Path(folder, "lab"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(stand_in.__file__, folder)
        yield Path(folder)


def environment(place: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(place / "runtime"), "TMPDIR": str(place / "temporary")}


def answer(driver: subprocess.Popen[str]) -> dict[str, str]:
    line = driver.stdout.readline() if driver.stdout else ""
    assert line, driver.stderr.read() if driver.stderr else ""
    return dict(json.loads(line))


def lab_spaces(mark: str) -> set[str]:
    """The namespaces that all processes of the lab share."""
    spaces = set.intersection(*map(spaces_of, processes(mark)))
    assert len(spaces) == len(stand_in.SPACES)
    return spaces


def assert_nothing_left(mark: str, spaces: set[str], url: str, place: Path) -> None:
    wait_until(lambda: not processes(mark), "all its processes are gone")
    wait_until(lambda: not spaces & spaces_in_use(), "its namespaces are gone")
    assert not [name for _, name in socket.if_nameindex() if mark in name]
    assert mark not in Path("/proc/self/mounts").read_text()
    assert "/run/lab" not in Path("/proc/self/mounts").read_text()
    assert not Path("/tmp", mark).exists()
    assert not Path("/run", mark).exists()
    assert [path for path in place.rglob("*") if path.is_file()] == []
    if url:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1)


def test_programs_run_in_places_of_their_own(mark: str, place: Path) -> None:
    lab = stand_in.backend(mark).up(mark, None, False)
    try:
        seen = facts(lab.url)
        assert seen["tmp"] == [mark]
        assert sorted(seen["run"]) == sorted([mark, "balance-lab", "lab", "lock", "openvswitch"])
        assert sorted(seen["links"]) == sorted(["lo", f"{mark}a", f"{mark}b"])
        assert seen["kit"] == sorted(os.listdir(ROOT / "lab"))
        assert not lab_spaces(mark) & spaces_of(os.getpid())
        assert (seen["env"]["LAB_TOKEN"], seen["env"]["LAB_STATE"]) == (lab.token, "/run/balance-lab")
        assert "POX_HOME" not in seen["env"]
        assert seen["uid"] == 0
    finally:
        lab.down()


def test_the_hosts_settings_are_read_only_and_the_networks_own_are_not(mark: str, place: Path) -> None:
    lab = stand_in.backend(mark).up(mark, None, False)
    seen = facts(lab.url)
    lab.down()
    assert (seen["sysctl_writable"], seen["net_writable"]) == (False, True)


def test_pox_is_at_a_fixed_place_wherever_its_folder_lies(mark: str, place: Path, clone: Path) -> None:
    (clone / "pox folder").mkdir()
    (clone / "pox folder" / "pox.py").touch()
    lab = stand_in.backend(mark).up(mark, clone / "pox folder", False)
    seen = facts(lab.url)
    lab.down()
    assert seen["pox"] == ["pox.py"]
    assert seen["env"]["POX_HOME"] == "/run/lab/pox"


def test_orphans_are_reaped(mark: str, place: Path) -> None:
    lab = stand_in.backend(mark).up(mark, None, False)
    try:
        wait_until(lambda: facts(lab.url)["zombies"] == [], "no zombie is left")
    finally:
        lab.down()


def test_no_command_line_holds_the_token(mark: str, place: Path) -> None:
    lab = stand_in.backend(mark).up(mark, None, False)
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    lab.down()
    assert lines
    assert not [line for line in lines if lab.token.encode() in line]


def test_down_is_quick_and_leaves_nothing_but_the_logs_text(mark: str, place: Path) -> None:
    lab = stand_in.backend(mark).up(mark, None, False)
    spaces = lab_spaces(mark)
    started = time.monotonic()
    lab.down()
    took = time.monotonic() - started
    assert processes(mark) == []  # at once: down has waited for it
    assert took < 0.3
    lab.down()
    assert not lab.alive()
    assert lab.logs()["agent.log"] == "agent serves\n"
    assert_nothing_left(mark, spaces, lab.url, place)


@pytest.mark.parametrize(
    ("how", "number", "code"),
    [
        ("orderly", None, 0),
        ("crash", None, 1),
        ("wait", signal.SIGINT, 130),
        ("wait", signal.SIGTERM, -signal.SIGTERM),
        ("wait", signal.SIGKILL, -signal.SIGKILL),
        ("from_a_thread", signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_nothing_is_left_however_the_driver_ends(
    mark: str, place: Path, how: str, number: signal.Signals | None, code: int
) -> None:
    with stand_in.driver(mark, how, ROOT, environment(place)) as driver:
        url = answer(driver)["url"]
        spaces: set[str] = set()
        if how != "crash":
            spaces = lab_spaces(mark)
        if number is not None:
            driver.send_signal(number)
        driver.communicate("\n" if how == "orderly" else None, timeout=10)
        assert driver.returncode == code
    assert_nothing_left(mark, spaces, url, place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_driver_ends_while_the_lab_starts(
    mark: str, place: Path, number: signal.Signals
) -> None:
    with stand_in.driver(mark, "hang_while_starting", ROOT, environment(place)) as driver:
        answer(driver)
        wait_until(lambda: len(processes(mark)) > 1, "agent and supervisor have started")
        driver.send_signal(number)
        driver.wait(10)
    assert_nothing_left(mark, set(), "", place)


def test_a_lab_whose_first_process_is_stopped_still_goes_down(
    mark: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "DOWN_S", 0.1)
    lab = stand_in.backend(mark).up(mark, None, False)
    os.kill(lab.first_process(), signal.SIGSTOP)
    lab.down()
    assert_nothing_left(mark, set(), lab.url, place)


def test_a_lab_that_cant_be_ended_is_named_with_the_command_and_its_logs_are_kept(
    mark: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "DOWN_S", 0.1)
    monkeypatch.setattr(sandbox, "terminate", lambda *_: False)
    lab = stand_in.backend(mark).up(mark, None, False)
    first = lab.first_process()
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(LeftBehind, match=f"^process {first}, .*: kill -9 {first}$"):
        lab.down()
    assert lab.logs()["agent.log"] == "agent serves\n"


def test_a_clone_in_tmp_with_spaces_in_its_name_works(mark: str, place: Path, clone: Path) -> None:
    with stand_in.driver(mark, "orderly", clone, environment(place)) as driver:
        seen = facts(answer(driver)["url"])
        assert "sandbox.py" not in seen["tmp"]
        assert "driver" in seen["kit"]
        driver.communicate("\n", timeout=10)
        assert driver.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run without root here")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_works_without_root_and_leaves_nothing(mark: str, place: Path, clone: Path, number: signal.Signals) -> None:
    if not requirements.user_namespace_works(AS_NOBODY):
        pytest.skip(requirements.userns_refused().what)
    program = clone / "stand_in.py"
    with stand_in.driver(mark, "wait", clone, {}, *AS_NOBODY, program=program) as driver:
        url = answer(driver)["url"]
        seen = facts(url)
        assert (seen["uid"], seen["tmp"]) == (0, [mark])
        assert (seen["sysctl_writable"], seen["net_writable"]) == (False, True)
        spaces = lab_spaces(mark)
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in processes(mark)} == {65534}
        driver.send_signal(number)
        driver.wait(10)
    assert_nothing_left(mark, spaces, url, place)


def test_two_labs_run_at_once(mark: str, place: Path) -> None:
    first = stand_in.backend(mark).up("first", None, False)
    second = stand_in.backend(mark).up("second", None, False)
    try:
        assert first.url != second.url
        first.down()
        assert second.alive()
        assert facts(second.url)["tmp"] == [mark]
    finally:
        first.down()
        second.down()


def test_a_lab_that_does_not_answer_is_an_error_with_its_last_words(mark: str, place: Path) -> None:
    silent = (stand_in.PYTHON, "-c", "import time; print('thinking', flush=True); time.sleep(1000)", mark)
    with pytest.raises(LabError, match=r"agent did not answer within 0\.5 s; last in its logs: thinking"):
        stand_in.backend(mark, agent=silent, timeout_s=0.5).up(mark, None, False)
    assert_nothing_left(mark, set(), "", place)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ((stand_in.PYTHON, "-c", "raise SystemExit('no Mininet here')"), "no Mininet here / the agent ended with exit"),
        (("/usr/bin/no-such-program",), "could not be set up.*No such file"),
    ],
)
def test_an_agent_that_ends_at_once_is_an_error_with_its_last_words(
    mark: str, place: Path, program: tuple[str, ...], words: str
) -> None:
    started = time.monotonic()
    with pytest.raises(LabError, match=words):
        stand_in.backend(mark, agent=program).up(mark, None, False)
    assert time.monotonic() - started < 5  # the time-out is not waited for


@pytest.mark.parametrize("index", [0, 1])
def test_a_lab_ends_when_one_of_its_programs_is_killed_and_says_which(mark: str, place: Path, index: int) -> None:
    lab = stand_in.backend(mark).up(mark, None, False)
    program = ("supervisor", "agent")[index]
    source = {"supervisor": stand_in.SUPERVISOR, "agent": stand_in.AGENT}[program].encode()
    (pid,) = (p for p in processes(mark) if Path(f"/proc/{p}/cmdline").read_bytes().split(b"\0")[2] == source)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lab.alive(), "it has noticed")
    assert f"the {program} ended with signal SIGKILL" in lab.why_dead()
    lab.down()


def test_a_kernel_that_refuses_namespaces_is_named_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"kernel.apparmor_restrict_unprivileged_userns": "1", "user.max_user_namespaces": "96364"}
    monkeypatch.setattr(requirements, "_sysctl", values.get)
    text = sandbox._how_it_ended("unshare: unshare failed: Operation not permitted\n")
    assert "kernel.apparmor_restrict_unprivileged_userns = 1" in text
    assert "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0" in text
    assert "max_user" not in text


def test_a_fixed_port_is_used_and_refused_when_it_is_taken(mark: str, place: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        with pytest.raises(LabError, match=f"port {port} can't be used .*LAB_PORT"):
            stand_in.backend(mark, environ={"LAB_PORT": port}).up(mark, None, False)
    lab = stand_in.backend(mark, environ={"LAB_PORT": port}).up(mark, None, False)
    lab.down()
    assert lab.url == f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("port", ["eighty", "-1", "8080x"])
def test_a_port_that_is_none_is_a_usage_error(port: str) -> None:
    with pytest.raises(UsageError, match="LAB_PORT"):
        stand_in.backend("x", environ={"LAB_PORT": port}).up("x", None, False)


def test_a_kept_lab_outlives_its_driver_until_it_is_taken_down(mark: str, place: Path) -> None:
    with stand_in.driver(mark, "keep", ROOT, environment(place)) as driver:
        url = answer(driver)["url"]
        driver.communicate(timeout=10)
        assert driver.returncode == 0
    entry = registry.newest()
    assert entry is not None
    assert (entry.name, entry.url, entry.backend) == (mark, url, "sandbox")
    lab = sandbox.SandboxBackend().attach(entry)
    try:
        assert lab.alive()
        assert lab.logs()["agent.log"] == "agent serves\n"
        assert facts(url)["env"]["LAB_TOKEN"] == entry.token
        spaces = lab_spaces(mark)
        with pytest.raises(UsageError, match=f"{mark} is already running"):
            stand_in.backend(mark).up(mark, None, True)
    finally:
        lab.down()
    assert registry.entries() == []
    assert_nothing_left(mark, spaces, url, place)


def test_a_kept_lab_that_fails_leaves_nothing(mark: str, place: Path) -> None:
    with pytest.raises(LabError):
        stand_in.backend(mark, agent=("/bin/false",)).up(mark, None, True)
    assert registry.entries() == []
    assert_nothing_left(mark, set(), "", place)


def test_on_sigterm_the_agent_is_stopped_before_the_supervisor(mark: str, place: Path) -> None:
    lab = stand_in.backend(mark).up(mark, None, True)
    entry = registry.find(mark)
    assert entry is not None
    assert entry.pid is not None
    os.kill(entry.pid, signal.SIGTERM)
    wait_until(lambda: identity(entry.pid or 0) is None, "the lab has ended")
    logs = lab.logs()
    agent, supervisor = (logs[name].splitlines()[-1].split() for name in ("agent.log", "controller.log"))
    lab.down()
    assert (agent[:2], supervisor[:2]) == (["agent", "stops"], ["supervisor", "stops"])
    assert float(agent[2]) < float(supervisor[2])
