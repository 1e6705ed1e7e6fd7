"""The command: what it refuses, what it leaves when it ends early, and one small bench in real labs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.bench import beds, command, measuring
from lab.bench.command import Running
from lab.bench.options import Options
from lab.bench.variants import choose
from lab.driver import backends
from lab.driver.backends import Missing
from lab.driver.errors import LabError
from lab.driver.guard import Interrupted
from lab.driver.progress import make_screen
from lab.record import RunFolder

ROOT = Path(__file__).parents[2]
RUN_LAB = [sys.executable, str(ROOT / "lab/run_lab.py"), "bench"]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN_LAB, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--variants", "directt"], 'unknown variant "directt": did you mean "direct"?'),
        (["--concurrency", "many"], '--concurrency "many": "many" is no number; numbers look like 1,16,64,256'),
        (["--rounds", "0"], "--rounds 0 is not between 1 and 1000"),
        (["--backend", "sandbocks"], 'unknown backend "sandbocks": did you mean "sandbox"?'),
    ],
)
def test_a_wrong_command_line_is_a_sentence_and_starts_nothing(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = run(*words, "--out", str(tmp_path / "runs"))
    assert done.returncode == 2
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


class NoLab:
    """A bed that was brought up, as far as the command can see."""

    def __init__(self, name: str) -> None:
        self.name, self.files, self.facts, self.idle_cpu = name, {"x.conf": "x"}, {}, {}
        self.is_up = True
        self.session = self
        self.network: dict[str, Any] = {"datapath": "user"}
        self.versions: dict[str, str | None] = {}

    def explain(self, error: LabError) -> str:
        return str(error)

    def down(self) -> dict[str, str]:
        self.is_up = False
        return {"agent.log": "…"}


class NoBackend:
    name = "compose"

    def prepare(self, pox: Path | None) -> None: ...


@pytest.fixture
def labs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[NoLab]]:
    made: list[NoLab] = []

    def make(variant: Any, *_: Any) -> NoLab:
        if variant.name == "haproxy":
            raise LabError("it would not start")
        made.append(NoLab(variant.name))
        return made[-1]

    monkeypatch.setattr(beds, "make", make)
    monkeypatch.setattr(measuring, "measure_idle", lambda beds, seconds: None)
    yield made
    assert not any(lab.is_up for lab in made)


def running(folder: Path, variants: list[str]) -> Running:
    options = Options(variants=tuple(variants), rounds=1, concurrency=(16,), bulk=False)
    run_folder = RunFolder.create(folder, "bench", latest=False)
    return Running(options, NoBackend(), choose(variants), run_folder, make_screen())  # type: ignore[arg-type]


def read(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*-bench/bench.json")
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize(("error", "raised"), [(LabError("it died"), LabError), (Interrupted(), KeyboardInterrupt)])
def test_what_was_measured_before_the_end_is_kept_and_every_lab_is_taken_down(
    labs: list[NoLab],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    raised: type,
) -> None:
    from bench_samples import sample

    found = iter([sample("direct"), error])

    def measure(*_: Any) -> Any:
        one = next(found)
        if isinstance(one, BaseException):
            raise one
        return one

    monkeypatch.setattr(measuring, "measure", measure)
    with pytest.raises(raised):
        running(tmp_path, ["direct", "osken-tracked"]).execute()
    shown = capsys.readouterr().out
    assert "16 at a time: speed" in shown
    assert "ended early" in shown
    data = read(tmp_path)
    assert (data["complete"], len(data["samples"]), len(data["results"])) == (False, 1, 1)
    assert data["reason"] in ("osken-tracked: it died", "interrupted")
    assert {path.name for path in tmp_path.glob("*-bench/direct/*")} == {"x.conf", "agent.log"}


def test_a_variant_that_does_not_come_up_is_left_out_and_named(
    labs: list[NoLab], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench_samples import sample

    monkeypatch.setattr(measuring, "measure", lambda bed, *_: sample(bed.name))
    assert running(tmp_path, ["direct", "haproxy"]).execute() == 0
    data = read(tmp_path)
    assert data["left_out"] == [{"variant": "haproxy", "why": "it would not start"}]
    assert (data["complete"], list(data["variants"])) == (True, ["direct"])
    assert "without haproxy: it would not start" in capsys.readouterr().out


def test_a_bench_of_nothing_is_an_error(labs: list[NoLab], tmp_path: Path) -> None:
    with pytest.raises(LabError, match="none of the variants"):
        running(tmp_path, ["haproxy"]).execute()


def test_a_bench_is_no_run_of_a_scenario(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, "bench", latest=False)
    assert not (tmp_path / "latest").exists()
    assert command.IDLE_S > 0


def test_the_sandbox_is_preferred_and_containers_do_where_it_can_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    gaps: dict[str, list[Missing]] = {"sandbox": [], "compose": []}

    class Some:
        def __init__(self, name: str) -> None:
            self.name = name

        def missing(self) -> list[Missing]:
            return gaps[self.name]

    monkeypatch.setattr(backends, "choose", lambda name: (Some("compose" if name == "auto" else name), "a reason"))
    assert command.choose_backend("auto")[0].name == "sandbox"
    assert command.choose_backend("compose")[0].name == "compose"
    gaps["sandbox"] = [Missing(what="no tun", mend="modprobe tun")]
    assert command.choose_backend("auto")[0].name == "compose"
    with pytest.raises(LabError, match="the sandbox backend can't run here: no tun: modprobe tun"):
        command.choose_backend("sandbox")


@pytest.mark.sandbox
def test_a_small_bench_counts_connections_packet_ins_and_cpu(tmp_path: Path) -> None:
    """One round of one second: nothing that depends on how fast this machine is."""
    words = [
        "--rounds",
        "1",
        "--seconds",
        "1",
        "--concurrency",
        "4",
        "--variants",
        "direct,haproxy,nftables,osken-tracked",
    ]
    done = run(*words, "--backend", "sandbox", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    data = read(tmp_path)
    assert (data["complete"], data["left_out"]) == (True, [])
    assert [s["variant"] for s in data["samples"]] == ["direct", "haproxy", "nftables", "osken-tracked", "direct"]
    for sample in data["samples"]:
        assert sample["connections"] > 0
        assert sample["errors"]["socket"] == sample["errors"]["status"] == 0
        assert sample["whole_ms"]
        assert sample["cpu_s"]["ovs-vswitchd"] > 0
        assert sum(sample["accepted"].values()) >= sample["connections"]
    ours = data["samples"][3]
    assert ours["packet_ins"] >= ours["connections"]  # each SYN was decided by the controller
    assert abs(ours["accepted"]["h1"] - ours["accepted"]["h2"]) <= 1 + 0.01 * ours["connections"]  # in turn
    assert all(sample["bits_per_s"] for sample in data["bulk_samples"]), data["bulk_samples"]
    folder = tmp_path / data["name"]
    assert "mode tcp" in (folder / "haproxy/haproxy.cfg").read_text()
    assert "masquerade" in (folder / "nftables/nftables.conf").read_text()
    assert '"mode": "tracked"' in (folder / "osken-tracked/controller.json").read_text()
    assert (folder / "bench.svg").stat().st_size > 0
    assert not (tmp_path / "latest").exists()
