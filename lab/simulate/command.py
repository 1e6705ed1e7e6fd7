"""The command: settings in, a folder of results out. Rule: a folder is whole, or it isn't there."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lab.driver.errors import LabError, UsageError
from lab.record import RunFolder
from lab.simulate import plots, settings, tables
from lab.simulate.simulation import Results, simulate

RESULT, TABLES = "simulate.json", "simulate.txt"


def run(options: Mapping[str, str], *, flows: int, seed: int, cpu_us: float | None, out: Path) -> int:
    """Simulate, show and keep. `options`: the texts of those that are lists."""
    wanted = settings.read(options, flows=flows, seed=seed, cpu_us=cpu_us)
    try:
        folder = RunFolder.create(out, "simulate", latest=False)
    except OSError as error:
        raise UsageError(f"--out: no folder can be made in {out}: {error.strerror or error}") from None
    began = time.monotonic(), time.process_time()
    try:
        results = simulate(wanted, sys.stderr)
        shown = tables.render(results)
        _keep(results, shown, folder)
    except BaseException as error:
        shutil.rmtree(folder.path, ignore_errors=True)
        if isinstance(error, OSError):
            raise LabError(f"the results can't be kept in {folder.path}: {error.strerror or error}") from None
        raise
    print(shown)
    wall, cpu = time.monotonic() - began[0], time.process_time() - began[1]
    print(f"simulated in {wall:.0f} s ({cpu:.0f} s of one processor): {folder.path}")
    return 0


def _keep(results: Results, shown: str, folder: RunFolder) -> None:
    for name, picture in plots.draw(results).items():
        folder.write(name, picture)
    folder.write(TABLES, shown)
    folder.write(RESULT, json.dumps(results.to_json(), indent=1) + "\n")
