"""`run_lab.py bench`: labs up, rounds run, results written, labs down, however it ends.

Rule: what was measured is on disk even after Ctrl-C or a lab that broke, and no lab is left.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from lab.bench import analysis, beds, measuring, needs, rounds, table
from lab.bench.beds import Bed
from lab.bench.options import Options
from lab.bench.record import PLOT, Bench
from lab.bench.rounds import Turn
from lab.bench.variants import Variant, choose, why_not
from lab.driver import backends, pox_supply
from lab.driver.backends.base import Backend
from lab.driver.errors import LabError, UsageError
from lab.driver.guard import Guard, Interrupted
from lab.driver.progress import Screen, make_screen
from lab.driver.scenario_model import POLICIES_KEPT
from lab.driver.wording import alternatives, quote
from lab.record import RunFolder

IDLE_S: Final = 3.0


def run(options: Options, *, backend: str, out: Path) -> int:
    """Exit code 0. Raises UsageError, LabError, KeyboardInterrupt."""
    variants = choose(options.variants)
    chosen, why = choose_backend(backend)
    if chosen.name == "sandbox":
        needs.check(options, variants)
    try:
        folder = RunFolder.create(out, "bench", latest=False)
    except OSError as error:
        raise UsageError(f"no folder for the bench can be made in {out}: {error.strerror or error}") from None
    screen = make_screen()
    screen.say(f"backend {chosen.name} ({why})")
    return Running(options, chosen, variants, folder, screen).execute()


def choose_backend(name: str) -> tuple[Backend, str]:
    """The backend and why. `auto` is the sandbox where it can run: containers would only be something more between.
    Raises UsageError: there is none of that name; LabError: it can't run here."""
    if name not in backends.NAMES:
        raise UsageError(f"unknown backend {quote(name)}{alternatives(name, backends.NAMES)}")
    if name == "auto" and not (sandbox := backends.choose("sandbox")[0]).missing():
        return sandbox, "nothing more than needed between client and server"
    chosen, why = backends.choose(name)
    if gaps := chosen.missing():
        raise LabError(f"the {chosen.name} backend can't run here: " + "; ".join(f"{g.what}: {g.mend}" for g in gaps))
    return chosen, why


class Running:
    """One bench from its first lab to its table."""

    def __init__(
        self, options: Options, backend: Backend, variants: Sequence[Variant], folder: RunFolder, screen: Screen
    ) -> None:
        self._options, self._backend, self._wanted = options, backend, variants
        self._folder, self._screen = folder, screen
        self._beds: list[Bed] = []
        self._began = time.monotonic()
        self.bench = Bench(
            name=folder.path.name,
            started=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            backend=backend.name,
            machine={"processors": os.cpu_count(), "kernel": platform.release(), "architecture": platform.machine()},
            settings={
                "rounds": options.rounds,
                "seconds": options.seconds,
                "concurrency": list(options.concurrency),
                "bulk": options.bulk,
                "clients": list(beds.CLIENTS),
                "servers": list(beds.SERVERS),
            },
        )

    def execute(self) -> int:
        with Guard() as guard:
            try:
                self._make_beds()
                self._measure()
                self.bench.complete = True
            except BaseException as error:
                guard.shield()
                self.bench.reason = self._explain(error)
                if isinstance(error, Interrupted):
                    raise KeyboardInterrupt from None
                raise
            finally:
                guard.shield()
                self._take_down()
                self._write()
                if self.bench.results:
                    table.show(self.bench, self._folder.path, sys.stdout)
        return 0

    def _explain(self, error: BaseException) -> str:
        return "interrupted" if isinstance(error, Interrupted) else str(error)

    # Labs

    def _make_beds(self) -> None:
        pox = pox_supply.find_pox(explicit=False) if any(v.needs_pox for v in self._wanted) else None
        no_pox = pox.why if pox and pox.path is None else None
        self._backend.prepare(pox.path if pox else None)
        for variant in self._wanted:
            if reason := why_not(variant, POLICIES_KEPT, no_pox) or self._no_tool(variant):
                self._leave_out(variant, reason)
                continue
            self._screen.phase(f"bringing up {variant.name}")
            try:
                self._beds.append(beds.make(variant, self._backend, pox.path if pox else None, POLICIES_KEPT))
            except LabError as error:
                self._leave_out(variant, str(error))
        if not self._beds:
            raise LabError("none of the variants can be measured here")
        self._note_beds()

    def _no_tool(self, variant: Variant) -> str | None:
        missing = [p for p in variant.programs if self._backend.name == "sandbox" and not needs.here(p)]
        return f"{', '.join(missing)} is not installed" if missing else None

    def _leave_out(self, variant: Variant, reason: str) -> None:
        self.bench.left_out.append({"variant": variant.name, "why": reason})
        self._screen.say(f"without {variant.name}: {reason}")

    def _note_beds(self) -> None:
        first = self._beds[0].session
        self.bench.datapath = first.network.get("datapath")
        for bed in self._beds:
            self.bench.versions.update({k: v for k, v in bed.session.versions.items() if v is not None})
            self._write_files(bed)
        self._screen.phase("measuring what the idle labs use")
        measuring.measure_idle(self._beds, IDLE_S)
        for bed in self._beds:
            files = sorted(bed.files)
            self.bench.variants[bed.name] = {**bed.facts, "idle_cpu": bed.idle_cpu, "configuration": files}

    def _write_files(self, bed: Bed) -> None:
        """What it was configured with, in a folder of its name."""
        folder = self._folder.path / bed.name
        folder.mkdir(exist_ok=True)
        for name, text in bed.files.items():
            (folder / name).write_text(text, encoding="utf-8")

    # Rounds

    def _measure(self) -> None:
        by_name = {bed.name: bed for bed in self._beds}
        names = list(by_name)
        minutes = rounds.forecast_s(self._options, names) / 60
        self._screen.say(f"measuring {', '.join(names)}: about {minutes:.0f} min")
        began = time.monotonic()
        todo = list(rounds.turns(self._options, names))
        for number, turn in enumerate(todo, 1):
            self._screen.phase(f"{number} of {len(todo)}: {turn.variant}")
            try:
                self._take(by_name[turn.variant], turn, began)
            except LabError as error:
                raise LabError(f"{turn.variant}: {by_name[turn.variant].session.explain(error)}") from None

    def _take(self, bed: Bed, turn: Turn, began: float) -> None:
        """One measurement."""
        seconds = self._options.seconds
        if turn.direction:
            bulk = measuring.measure_bulk(bed, turn.round, turn.direction, seconds, began)
            self.bench.bulk_samples.append(bulk)
            return
        sample = measuring.measure(bed, turn.round, turn.concurrency, seconds, began)
        self.bench.samples.append(sample)
        self._screen.say(table.line(sample))

    # The end

    def _take_down(self) -> None:
        self._screen.phase("taking the labs down")
        for bed in self._beds:
            with contextlib.suppress(LabError):
                for name, text in bed.down().items():
                    (self._folder.path / bed.name / name).write_text(text, encoding="utf-8")
        self._screen.close()

    def _write(self) -> None:
        names = [bed.name for bed in self._beds]
        bench = self.bench
        bench.duration_s = round(time.monotonic() - self._began, 1)
        bench.results = analysis.results(bench.samples, names)
        bench.bulk_results = analysis.bulk_results(bench.bulk_samples, names)
        bench.write(self._folder.path)
        if bench.results:
            from lab.bench import plot

            self._folder.write(PLOT, plot.draw(bench))
