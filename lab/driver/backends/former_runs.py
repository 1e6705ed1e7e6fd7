"""What was found right before: a note per command line and scenarios, once a sandbox was asked for to run just these.

So what a command needs is known before its scenario has been read again. The notes lie in the kit's cache, and any of
them may be deleted. Rule: a note is of the same words, files and kit, or it is of another command.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from lab.driver import pox_supply

BOUND: Final = 100  # notes that are kept
PLUGIN: Final = b".py:"  # a policy's file, which may have changed


class FormerRuns:
    """The note of one command. words: all of its command line; scenarios: the files that are among them."""

    def __init__(self, words: Sequence[str], scenarios: Sequence[str]) -> None:
        self._note: Path | None = None  # None: none is kept
        with suppress(OSError, UnicodeError):
            said = [*map(os.fsencode, words), *(Path(path).read_bytes() for path in scenarios)]
            if not any(PLUGIN in part for part in said):
                parts = [os.fsencode(os.getcwd()), *_kit(), *said]
                digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts))
                self._note = _folder() / digest.hexdigest()

    def pox(self) -> tuple[Path | None] | None:
        """(The POX it ran with; None: without one,), or None where there was no such run."""
        if self._note is not None:
            with suppress(OSError, UnicodeError):
                said = self._note.read_text()
                return (Path(said) if said else None,)
        return None

    def remember(self, pox: Path | None) -> None:
        """It was right, and runs in a sandbox."""
        if self._note is None or self.pox() == (pox,):
            return
        with suppress(OSError, UnicodeError):
            self._note.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._note.with_name(f"{self._note.name}.{os.getpid()}")
            fresh.write_text("" if pox is None else str(pox))
            fresh.replace(self._note)
            for old in sorted(self._note.parent.iterdir(), key=lambda note: note.stat().st_mtime)[:-BOUND]:
                old.unlink(missing_ok=True)


def _folder() -> Path:
    return pox_supply.cache_folder() / "former-runs"


def _kit() -> list[bytes]:
    """Changes when what judges a scenario does."""
    files = (Path(__file__).parents[1]).glob("*.py")
    return sorted(f"{file} {file.stat().st_mtime_ns}".encode() for file in files)
