"""`run_lab.py simulate` as a user meets it: what it says, what it leaves, and one clear sentence for every mistake."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from lab.driver.cli import main
from lab.record import RunFolder
from lab.simulate import command
from lab.simulate.progress import Progress
from lab.simulate.settings import DEFAULTS, read
from lab.simulate.simulation import churn_servers

SMALL = [
    "simulate",
    "--flows",
    "1000",
    "--servers",
    "2,5",
    "--timeouts",
    "2",
    "--rates",
    "100,90000",
    "--table-sizes",
    "1009",
]
SMALL += ["--cpu-us", "50"]
PICTURES = {"evenness", "hash_table", "disruption", "failures", "controller", "rules", "packet_ins"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def folders(here: Path) -> list[Path]:
    return sorted((here / "runs").iterdir()) if (here / "runs").exists() else []


def simulated(here: Path, *options: str) -> dict[str, Any]:
    """What a small simulation with these options leaves, as JSON."""
    before = folders(here)
    assert main([*SMALL, *options]) == 0
    (folder,) = set(folders(here)) - set(before)
    found: dict[str, Any] = json.loads((folder / "simulate.json").read_text())
    return found


def test_leaves_figures_tables_and_pictures_and_no_latest_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder.create(here / "runs", "of_a_lab")
    found = simulated(here)
    out, _ = capsys.readouterr()
    assert (here / "runs" / "latest").resolve() == run.path
    (folder,) = [path for path in folders(here) if path.name.endswith("simulate")]
    assert {path.name for path in folder.iterdir()} == {
        "simulate.json", "simulate.txt", *(f"{name}.svg" for name in PICTURES)
    }  # fmt: skip
    for name in PICTURES:
        ET.parse(folder / f"{name}.svg")
    assert (folder / "simulate.txt").read_text() in out
    assert out.splitlines()[-1].endswith(f"runs/{folder.name}")
    assert found["schema"] == "balance-lab/simulate/1"
    assert len(found["evenness"]) == 2 * 5
    assert {c["policy"] for c in found["churn"]} == set(DEFAULTS["policies"].split(","))
    assert [load["utilisation"] for load in found["controller"]["loads"]] == [0.005, 4.5]
    assert found["controller"]["cpu_us_from"] == "option"


def test_one_seed_gives_one_result_and_another_another(here: Path) -> None:
    first, second, other = (simulated(here, "--seed", seed) for seed in ("7", "7", "8"))
    assert first == second
    for part in ("evenness", "churn", "controller", "rules"):
        assert first[part] != other[part]


def test_cost_is_measured_and_said_so_where_none_is_given(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL[:-2], "--policies", "random"]) == 0
    assert "µs per connection (calibrated here: the core alone)" in capsys.readouterr().out
    found = json.loads((folders(here)[0] / "simulate.json").read_text())
    assert found["controller"]["cpu_us_from"] == "calibration"
    assert 1 < found["controller"]["cpu_us"] < 100_000


def test_a_users_own_policy_stands_beside_the_kits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = "class Last:\n def __init__(self, rng): pass\n def pool_changed(self, live): self.live = live\n"
    (here / "mine.py").write_text(source + " def choose(self, client_ip): return self.live[-1]\n")
    found = simulated(here, "--policies", "random,mine.py:Last")
    assert [e["policy"] for e in found["evenness"]] == ["random", "mine.py:Last"] * 2
    assert found["evenness"][3]["max_over_mean"] == 5.0
    assert found["churn"][1]["lost"] == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--flows", "999"], "--flows: 999 are too few for 5 servers; at least 1,000"),
        (["--servers", "1000"], "--flows: 1,000 are too few for 1,000 servers; at least 10,000"),
        (["--flows", "2000000000"], "--flows: 2,000,000,000 are too many to wait for; at most 1,000,000,000"),
        (["--flows", "many"], "'many' is not a valid integer"),
        (["--servers", "10,x"], '--servers: expected whole numbers from 2 to 4,085, found "x"'),
        (["--servers", "1"], '--servers: expected whole numbers from 2 to 4,085, found "1"'),
        (["--servers", "10,,20"], '--servers: expected a list with commas between, as in 1,2,3, found "10,,20"'),
        (["--servers", ""], '--servers: expected a list with commas between, as in 1,2,3, found ""'),
        (["--policies", "rundom"], '--policies: unknown policy "rundom": did you mean "random"? known: '),
        (["--policies", "none.py:Mine"], "the policy none.py can't be read: No such file or directory"),
        (["--table-sizes", "65536"], "--table-sizes: the hash table's size must be a prime"),
        (["--table-sizes", "3"], "--table-sizes: 3 places are too few for 5 servers"),
        (["--rates", "0"], "--rates: expected whole numbers from 1 to 100,000,000"),
        (["--timeouts", "70000"], "--timeouts: expected whole numbers from 1 to 65,535"),
        (["--cpu-us", "0"], "--cpu-us must be above 0 and at most 1,000,000 µs, and 0 isn't"),
        (["--cpu-us", "nan"], "--cpu-us must be above 0 and at most 1,000,000 µs, and nan isn't"),
        (["--sed", "1"], 'unknown option "--sed": did you mean "--seed"?'),
        (["--out", "a_file"], "--out: no folder can be made in a_file: "),
    ],
)
def test_a_mistake_is_2_with_one_sentence(
    here: Path, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "a_file").touch()
    assert main([*SMALL, *options]) == 2
    out, err = capsys.readouterr()
    assert sentence in err
    assert len(err.splitlines()) == 1
    assert out == ""
    assert folders(here) == []


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left"), 3)])
def test_what_is_not_whole_is_not_left(
    here: Path, error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(command.plots, "draw", fail)
    assert main([*SMALL, "--policies", "random"]) == code
    assert folders(here) == []
    assert "Traceback" not in capsys.readouterr().err


def test_churn_takes_the_largest_pool_with_enough_flows() -> None:
    def servers(flows: int) -> int:
        return churn_servers(read(DEFAULTS, flows=flows, seed=1, cpu_us=None))

    assert [servers(flows) for flows in (10_000, 300_000, 10_000_000)] == [10, 100, 1000]


def test_progress_off_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("lab.simulate.progress.time.monotonic", lambda: now[0])
    with Progress(4.0) as progress:
        for title in ("one", "two"):

            def work(advance: Any) -> None:
                for _ in range(4):
                    now[0] += 2.6
                    advance(0.5)

            progress.task(title, 2.0, work)
    assert capsys.readouterr().err.splitlines() == [" 25 %  one", " 25 %  one", " 75 %  two", " 75 %  two"]
