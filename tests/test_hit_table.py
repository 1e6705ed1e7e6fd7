"""CI's job summary: a row for each run, however it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lab.record import Result

SCRIPT = Path(__file__).parents[1] / ".github" / "hit_table.py"


def test_every_run_is_a_row_also_one_that_broke_or_never_was(tmp_path: Path) -> None:
    good = Result(scenario="round_robin", verdict="passed", engine="pox", backend="compose")
    good.hits = {"h1": {"client": 20, "server": 20}, "h2": {"client": 20, "server": None}}
    good.requests = {"sent": 40, "ok": 40, "failed": 0}
    good.controller["packet_ins"] = 40
    broken = Result(scenario="round_robin")  # nothing is known of it
    for name, result in (("pox", good), ("osken", broken)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result.to_json()) + "\n")
    (tmp_path / "empty.json").touch()
    names = ["pox.json", "osken.json", "empty.json", "nowhere.json"]
    done = subprocess.run([sys.executable, str(SCRIPT), *names], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines()[2:]]
    assert rows[0] == ["round_robin", "pox", "compose", "passed", "h1: 20 / 20, h2: 20 / ?", "0 of 40", "40", "?"]
    assert rows[1] == ["round_robin", "", "", "broken", "", "0 of 0", "?", "?"]
    assert [row[:4] for row in rows[2:]] == [["empty", "", "", "no result"], ["nowhere", "", "", "no result"]]
