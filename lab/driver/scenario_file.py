"""Scenario files: finding one, reading it, and saying all that is wrong with it.

Rule: whatever the file holds, the outcome
is a model or a UsageError."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from lab.driver import policy_plugin
from lab.driver.errors import UsageError
from lab.driver.scenario_model import ScenarioModel
from lab.driver.scenario_override import apply_choices, apply_sets
from lab.driver.scenario_read import read_model
from lab.driver.scenario_source import Place, Source, read_yaml
from lab.driver.wording import listing, nearest, quote

MAX_BYTES: Final = 1_000_000
LAB: Final = Path(__file__).resolve().parent.parent


def resolve(path: str | Path, *, lab: Path = LAB) -> Path:
    """The file meant: relative to the current folder, else to lab/. Raises UsageError where there is none."""
    for candidate in (Path(path), lab / path):
        try:
            if candidate.is_file():
                return candidate
            if candidate.is_dir():
                raise UsageError(f"{quote(path)} is a folder: name a scenario file in it")
        except (OSError, ValueError):  # ValueError: a null byte; OSError: a name too long
            break
    raise UsageError(f"no scenario file {quote(path)}{_known(Path(path), lab)}")


def read_scenario(
    path: Path, sets: Sequence[str] = (), choices: Mapping[str, str | None] | None = None
) -> ScenarioModel:
    """The completed model of the file at `path` with the command line's changes. Raises UsageError."""
    source = Source(_shown(path), _text(path))
    model = _read(source, path.parent, sets, choices or {})
    if model is None:
        raise UsageError(source.report())
    return model


def _read(source: Source, folder: Path, sets: Sequence[str], choices: Mapping[str, str | None]) -> ScenarioModel | None:
    root = read_yaml(source)
    if root is None or not isinstance(root.value, dict):
        if not source.problems:
            source.add(Place(), 'this is no scenario: expected a mapping with at least "name"', "empty")
        return None
    apply_sets(source, root, sets)
    apply_choices(source, root, choices)
    policy_plugin.make_absolute(root, folder)
    return read_model(source, root, policy_asked=bool(choices.get("policy")))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"can't read {quote(path)}: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise UsageError(f"{quote(path)} is too big for a scenario: more than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{quote(path)} is no text in UTF-8, so it can't be a scenario") from None


def _shown(path: Path) -> str:
    """The shorter of the path and the path from here."""
    try:
        return min(str(path), os.path.relpath(path), key=len)
    except (OSError, ValueError):  # the current folder is gone
        return str(path)


def _known(path: Path, lab: Path) -> str:
    """The tail of "no such file": the nearest scenario and the kit's own."""
    stems = sorted(file.stem for file in (lab / "scenarios").glob("*.yaml"))
    near = nearest(path.stem, stems)
    meant = f": did you mean scenarios/{near}.yaml?" if near else ";"
    return f"{meant} known: {listing(f'scenarios/{stem}.yaml' for stem in stems)}"
