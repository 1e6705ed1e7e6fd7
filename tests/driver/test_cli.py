"""The command line as a user meets it: exit codes, what goes where, and one clear sentence for every mistake."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fake_lab import FakeAgent, FakeBackend

from lab.driver import cli, commands
from lab.driver.backends import registry
from lab.driver.cli import main
from lab.driver.errors import LabError, LeftBehind

ROOT = Path(cli.__file__).parents[2]
GOOD = "name: good\nload: {requests: 20}\ncontroller: {engine: osken}\nexpect: {hits: {h1: 10, h2: 10}}\n"
UNEVEN = GOOD.replace("good", "uneven").replace("h1: 10", "h1: 11")


@pytest.fixture
def here(home: Path, backend: FakeBackend) -> Path:
    """A current folder with two scenarios in it, and a lab made of air."""
    (home / "good.yaml").write_text(GOOD)
    (home / "uneven.yaml").write_text(UNEVEN)
    return home


def result(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "runs" / "latest" / "result.json").read_text())
    return found


def test_every_expectation_held_is_0(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good.yaml"]) == 0
    out, err = capsys.readouterr()
    assert "all of 4 expectations held" in out
    assert (here / "runs" / "latest" / "report.html").exists()
    assert err.splitlines()[:2] == ["backend fake (made of air)", "engine  osken (asked for)"]


def test_an_expectation_that_failed_is_1(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["uneven.yaml"]) == 1
    assert "10, expected 11" in capsys.readouterr().out


def test_a_lab_that_broke_is_3(here: Path, backend: FakeBackend, capsys: pytest.CaptureFixture[str]) -> None:
    backend.refusal = LabError("no room for it")
    assert main(["good.yaml"]) == 3
    assert "no room for it" in capsys.readouterr().out


def test_the_time_limit_is_3(here: Path, agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.hang_at = 3
    assert main(["good.yaml", "--set", "time_limit_s=0.3"]) == 3
    assert "time limit of 0.3 s" in capsys.readouterr().out


def test_an_interruption_is_130_and_ends_the_row(here: Path, agent: FakeAgent, backend: FakeBackend) -> None:
    agent.hang_at = 3

    def interrupt() -> None:
        agent.hanging.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert main(["good.yaml", "uneven.yaml"]) == 130
    assert result(here)["scenario"] == "good"
    assert [lab.downs for lab in backend.labs] == [1]


@pytest.mark.parametrize(("row", "code"), [(["good.yaml", "uneven.yaml"], 1), (["uneven.yaml", "good.yaml"], 1)])
def test_several_scenarios_give_the_worst(here: Path, row: list[str], code: int) -> None:
    assert main(row) == code
    assert len([path for path in (here / "runs").iterdir() if not path.is_symlink()]) == 2


def test_a_wrong_scenario_is_2_and_nothing_is_started(
    here: Path, backend: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["good.yaml", "missing.yaml"]) == 2
    assert "missing.yaml" in capsys.readouterr().err
    assert backend.labs == []
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--engin", "pox", "good.yaml"], 'unknown option "--engin": did you mean "--engine"?'),
        (["good.yaml", "--jsn"], 'unknown option "--jsn": did you mean "--json"?'),
        (["vallidate", "good.yaml"], 'unknown command "vallidate": did you mean "validate"?'),
        (["down", "--al"], 'unknown option "--al": did you mean "--all"?'),
        (["good.yaml", "--backend", "compos"], 'unknown backend "compos": did you mean "compose"?'),
        (["good.yaml", "--junit", "no/such/x.xml"], "there is no folder no/such"),
        (["good.yaml", "--junit", "."], "--junit .: that is a folder"),
        (["good.yaml", "--junit", "good.yaml/x.xml"], "there is no folder good.yaml"),
        (["good.yaml", "--junit", "/proc/x.xml"], "--junit /proc/x.xml can't be written"),
        (["good.yaml", "--out", "/proc/x"], "no folder for runs can be made in /proc/x"),
        (["good.yaml", "--out", "good.yaml/deep"], "no folder for runs can be made in good.yaml/deep"),
        (["run"], "missing argument 'SCENARIO...'"),
        (["good.yaml", "--out", "good.yaml"], "no folder for runs can be made in good.yaml"),
        (["exec", "h3", "--", "true"], "no lab is running: start one with `up`"),
        (["down", "--all", "x"], "a lab's name or --all, not both"),
        (["report", "nowhere"], "nowhere is no folder of a run"),
    ],
)
def test_a_wrong_command_line_is_2_with_one_sentence(
    here: Path, argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert out == ""


@pytest.mark.parametrize("port", ["99999", "65536", "-1", "8080.0", "http", "8" * 5000, "\u0663"])
@pytest.mark.parametrize("words", [["good.yaml"], ["up", "good.yaml"]])
def test_a_lab_port_that_is_none_is_2_and_nothing_is_started(
    here: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, words: list[str], port: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("LAB_PORT", port)
    assert main(words) == 2
    assert re.fullmatch(r"LAB_PORT is .{1,40}: it must be a port number, .*\n", capsys.readouterr().err)
    assert backend.labs == []
    assert not (here / "runs").exists()


def test_a_pox_source_that_is_none_is_2_and_leaves_no_folder(
    here: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POX_SOURCE", "/nonexistent")
    assert main(["good.yaml", "--engine", "pox"]) == 2
    assert capsys.readouterr().err.startswith("POX_SOURCE=/nonexistent: no such folder")
    assert not (here / "runs").exists()
    assert main(["good.yaml"]) == 0  # os-ken has no use for it


def test_a_tear_down_that_fails_is_3_whatever_the_verdict(
    here: Path, backend: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise LeftBehind("the container x can't be removed: docker rm --force x")

    backend.lab_on_down = fail
    assert main(["good.yaml", "uneven.yaml", "--junit", "junit.xml"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("left behind: the container x can't be removed: docker rm --force x") == 2
    suites = ET.parse(here / "junit.xml").getroot()
    assert [suite.get("errors") for suite in suites] == ["1", "1"]
    assert result(here)["verdict"] == "failed"
    page = (here / "runs" / "latest" / "report.html").read_text()
    assert "docker rm --force x" in page


def test_json_is_a_line_per_scenario_and_nothing_else_on_stdout(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "good.yaml", "uneven.yaml"]) == 1
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["scenario"], line["verdict"]) for line in lines] == [("good", "passed"), ("uneven", "failed")]
    assert (here / lines[0]["folder"] / "result.json").exists()
    assert "expectations held" in err


def test_junit_has_a_test_case_per_expectation(here: Path, agent: FakeAgent) -> None:
    assert main(["good.yaml", "uneven.yaml", "--junit", "junit.xml"]) == 1
    suites = ET.parse(here / "junit.xml").getroot()
    names = [[case.get("name") for case in suite.iter("testcase")] for suite in suites]
    assert names == [["hits.h1", "hits.h2", "failed", "both_ends"]] * 2
    assert [suite.get("failures") for suite in suites] == ["0", "1"]
    failure = suites.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.get("message") == "10, expected 11"


def test_junit_of_a_run_that_broke_holds_an_error(here: Path, backend: FakeBackend) -> None:
    backend.refusal = LabError("no <room> for it\x00")
    assert main(["good.yaml", "--junit", "junit.xml"]) == 3
    error = ET.parse(here / "junit.xml").getroot().find("testsuite/testcase/error")
    assert error is not None
    assert error.get("message") == "no <room> for it\ufffd"


def test_out_names_the_folder_of_the_runs(here: Path) -> None:
    assert main(["good.yaml", "--out", "elsewhere/deep"]) == 0
    assert (here / "elsewhere" / "deep" / "latest" / "result.json").exists()


def test_command_line_goes_before_the_scenario(here: Path, agent: FakeAgent) -> None:
    assert main(["good.yaml", "--set", "load.requests=10", "--set", "expect.hits.h1=5", "--verbose"]) == 1
    assert agent.bodies["POST /load"]["requests"] == 10
    assert agent.bodies["PUT /controller"]["verbose"] is True


def test_keep_says_how_to_use_and_end_the_lab(
    here: Path, backend: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["good.yaml", "--keep"]) == 0
    out = capsys.readouterr().out
    assert "exec --lab good h6 -- curl -s http://10.0.1.1/" in out
    assert "down good" in out
    assert backend.labs[0].downs == 0


def test_up_leaves_a_lab_with_nothing_sent(
    here: Path, agent: FakeAgent, backend: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "good.yaml", "--name", "mine"]) == 0
    assert "lab mine is up and stays" in capsys.readouterr().out
    assert "POST /load" not in agent.calls
    assert backend.labs[0].downs == 0


def test_up_that_fails_leaves_nothing(here: Path, agent: FakeAgent, backend: FakeBackend) -> None:
    agent.refuse["PUT /network"] = (500, "no tun")
    assert main(["up", "good.yaml"]) == 3
    assert backend.labs[0].downs == 1


def test_up_that_is_interrupted_leaves_nothing(
    here: Path, agent: FakeAgent, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.driver.session.Session.build", lambda self, plan: os.kill(os.getpid(), signal.SIGTERM))
    assert main(["up", "good.yaml"]) == 130
    assert backend.labs[0].downs == 1


def test_exec_gives_the_commands_output_and_exit_code(
    kept: registry.Entry, agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exec", "h3", "--", "curl", "-s", "--help"]) == 7
    assert agent.bodies["POST /exec"] == {"host": "h3", "argv": ["curl", "-s", "--help"], "timeout_s": 60.0}
    assert "curl" in capsys.readouterr().out


def test_exec_on_a_host_that_is_not_there_is_2(
    kept: registry.Entry, agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.refuse["POST /exec"] = (400, "there is no host 'h9'")
    assert main(["exec", "h9", "true"]) == 2
    assert capsys.readouterr().err == "there is no host 'h9'\n"


def test_exec_names_the_nearest_lab(kept: registry.Entry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exec", "--lab", "mnie", "h3", "true"]) == 2
    assert 'no lab is called "mnie": did you mean "mine"?' in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "86401", "1e300"])
def test_a_time_out_that_makes_no_sense_is_2(
    kept: registry.Entry, agent: FakeAgent, seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["exec", "--timeout", seconds, "h3", "true"]) == 2
    assert "--timeout" in capsys.readouterr().err
    assert "POST /exec" not in agent.calls


def test_status_lists_the_kept_labs(kept: registry.Entry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert "mine" in capsys.readouterr().out


def test_down_ends_the_newest(kept: registry.Entry, backend: FakeBackend, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down"]) == 0
    assert capsys.readouterr().out == "mine is down\n"
    assert backend.labs[0].downs == 1


def test_report_is_made_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["good.yaml"])
    page = here / "runs" / "latest" / "report.html"
    page.unlink()
    assert main(["report"]) == 0
    assert page.exists()


def test_validate_starts_nothing(here: Path, backend: FakeBackend) -> None:
    assert main(["validate", "good.yaml", "uneven.yaml"]) == 0
    assert main(["validate", "good.yaml", "missing.yaml"]) == 2
    assert backend.labs == []


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "services" in json.loads(capsys.readouterr().out)["properties"]


def test_an_internal_error_is_one_sentence_and_a_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "load", lambda *args, **options: 1 / 0)
    assert main(["good.yaml"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("internal error: ZeroDivisionError: division by zero (details: ")
    assert len(err.splitlines()) == 1
    assert "Traceback" in Path(err.split("details: ")[1].rstrip(")\n")).read_text()


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    script = (
        f"import sys; sys.argv = ['run_lab.py', '--help']; sys.path.insert(0, {str(ROOT)!r})\n"
        "from lab.driver.cli import main\n"
        "code = main()\n"
        "heavy = {'pydantic', 'yaml', 'rich', 'requests', 'docker', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(code or ', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--engine" in done.stdout
    assert "validate" in done.stdout


def test_the_script_runs_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "lab" / "run_lab.py"), "nosuch.yaml"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "nosuch.yaml" in done.stderr
