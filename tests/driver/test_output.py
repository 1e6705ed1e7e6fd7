"""Output to a reader that leaves early, to a full disk, to nowhere: never a traceback, never a lab left behind."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.driver import cli

ROOT = Path(cli.__file__).parents[2]
PROGRAM = str(ROOT / "lab" / "run_lab.py")
GOOD = "name: good\nload: {requests: 20}\ncontroller: {engine: osken}\nexpect: {hits: {h1: 10, h2: 10}}\n"
ON_A_LAB_OF_AIR = """
import os, sys
from fake_lab import FakeAgent, FakeBackend
from lab.driver import backends
from lab.driver.cli import main
agent = FakeAgent()
agent.hang_at = int(os.environ.get("HANG_AT", "-1"))
backend = FakeBackend(agent)
backends.choose = lambda name="auto": (backend, "made of air")
code = main(sys.argv[1:])
open("downs", "w").write(str([lab.downs for lab in backend.labs]))
sys.exit(code)
"""


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path


def run(folder: Path, *words: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """As a user's shell would: standard output and error go where `streams` say, else are caught."""
    places = [str(ROOT), str(Path(__file__).parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "XDG_CACHE_HOME": str(folder / "cache")}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, text=True, timeout=60, check=False, **streams)


@pytest.mark.parametrize(
    "words",
    [["list"], ["schema"], ["--help"], ["run", "--help"], ["--version"], ["doctor"], ["status"], ["nosuch.yaml"]],
)
def test_a_reader_that_has_gone_ends_a_command_as_sigpipe_would(
    folder: Path, nobody_reads: int, words: list[str]
) -> None:
    both = run(folder, PROGRAM, *words, stdout=nobody_reads, stderr=nobody_reads)
    assert both.returncode == 141
    if words != ["nosuch.yaml"]:
        output = run(folder, PROGRAM, *words, stdout=nobody_reads)
        assert (output.returncode, output.stderr) == (141, "")


@pytest.mark.parametrize("words", [["--json"], [], ["--json", "--junit", "junit.xml"]])
def test_a_run_that_nobody_reads_is_recorded_and_its_lab_taken_down(
    folder: Path, nobody_reads: int, words: list[str]
) -> None:
    done = run(folder, "-c", ON_A_LAB_OF_AIR, "good.yaml", "good.yaml", *words, stdout=nobody_reads)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert (folder / "downs").read_text() == "[1]"  # and no second one is begun
    assert '"verdict": "passed"' in (folder / "runs" / "latest" / "result.json").read_text()
    assert (folder / "junit.xml").exists() == ("--junit" in words)


def test_progress_that_nobody_reads_costs_no_verdict(folder: Path, nobody_reads: int) -> None:
    done = run(folder, "-c", ON_A_LAB_OF_AIR, "good.yaml", "--json", stderr=nobody_reads)
    assert done.returncode == 141
    assert '"verdict": "passed"' in (folder / "runs" / "latest" / "result.json").read_text()
    assert (folder / "downs").read_text() == "[1]"


def test_a_full_disk_behind_the_output_is_one_sentence(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run(folder, PROGRAM, "schema", stdout=full)
    assert (done.returncode, done.stderr) == (3, "the output can't be written: No space left on device\n")


def test_closed_streams_are_no_error(folder: Path) -> None:
    command = ["sh", "-c", f"exec {sys.executable} {PROGRAM} list >&- 2>&-"]
    assert subprocess.run(command, cwd=folder, timeout=60, check=False).returncode == 0


def test_ctrl_c_before_anything_is_imported_is_130_and_no_traceback(folder: Path) -> None:
    (folder / "click.py").write_text("raise KeyboardInterrupt\n")
    env = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, PROGRAM, "list"], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_terminal_that_closes_ends_the_run_with_its_result_written_and_its_lab_down(folder: Path) -> None:
    """As when a connection by ssh is lost: SIGHUP, and every write fails."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}", "HANG_AT": "3"}
        os.execv(sys.executable, [sys.executable, "-c", ON_A_LAB_OF_AIR, "good.yaml"])
    shown = b""
    while b"/20 requests" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 141
    assert (folder / "downs").read_text() == "[1]"
    assert '"verdict": "interrupted"' in (folder / "runs" / "latest" / "result.json").read_text()
