"""LAB_PORT: the port of a lab's API on 127.0.0.1, where the user fixes one.

The one rule: what is no port number is a mistake of the command line, found before anything is started.
"""

from __future__ import annotations

from collections.abc import Mapping

from lab.driver.errors import UsageError

VARIABLE = "LAB_PORT"


def fixed_port(environ: Mapping[str, str]) -> int:
    """The port asked for; 0: none, any free one will do. Raises UsageError."""
    text = environ.get(VARIABLE, "")
    if text and not (len(text) < 6 and text.isascii() and text.isdecimal() and int(text) < 65_536):
        raise UsageError(f"{VARIABLE} is {text!r:.40}: it must be a port number, or not set for any free port")
    return int(text or 0)
