"""Imports made while the driver has nothing to do, so that nobody waits for them when they are needed.

While a lab comes up both processors of a small machine are busy; while requests run one is not. Rule: what goes wrong
here goes wrong again, with its reason, where the module is used.
"""

from __future__ import annotations

import contextlib
import importlib
import threading


def preload(*modules: str) -> None:
    """Import `modules` in a thread."""
    threading.Thread(target=_import, args=(modules,), daemon=True).start()


def _import(modules: tuple[str, ...]) -> None:
    with contextlib.suppress(Exception):
        for name in modules:
            importlib.import_module(name)
