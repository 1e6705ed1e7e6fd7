"""What need not be root runs as nobody: the hosts' web servers, and curl for a load.

setpriv changes the user and then becomes the program: the same process, some 1.5 ms of CPU. A web server keeps the one
capability to listen on a port below 1024. Where the user can't be changed (an agent that isn't root; a user namespace
without other users) programs run as the agent does.
Rule: nobody writes to what it was given by `give`, and root never to a file in a folder that was.
"""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

NOBODY = 65_534  # user and group: Debian's nobody and nogroup
SETPRIV = "/usr/bin/setpriv"
LISTEN = "net_bind_service"


def as_nobody(keep: str = "") -> list[str]:
    """What to put before a command line, with the capability to be kept; nothing where the user can't be changed."""
    return _command(keep) if _works() else []


def give(path: Path) -> None:
    """Make a file or folder that of the user whom `as_nobody` changes to."""
    if _works():
        os.chown(path, NOBODY, NOBODY)


@cache
def _works() -> bool:
    """Found by trying, once."""
    try:
        return subprocess.run([*_command(LISTEN), "/bin/true"], capture_output=True).returncode == 0
    except OSError:
        return False


def _command(keep: str) -> list[str]:
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    capabilities = f"-all,+{keep}" if keep else "-all"
    return [SETPRIV, *user, f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
