"""The Debian base image, made from Debian's packages: for machines that reach a package mirror and no image registry.

`make` bootstraps a minimal Debian with mmdebstrap and imports it under the name that the Dockerfiles start from, so
that they build unchanged. The one rule: an image that is there is left as it is, unless asked to make it anew.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from lab.driver.backends import engine
from lab.driver.errors import LabError

IMAGE = "debian:bookworm-slim"
_SUITE = "bookworm"
_MARK = "balance-lab.base=mmdebstrap"
# As Debian's own slim images: no documentation, no translations. Kept in the image, so later packages are slim as well.
_EXCLUDED = ("doc", "groff", "info", "linda", "lintian", "locale", "man")


def make(*, anew: bool = False, say: Callable[[str], None] = print) -> str:
    """Make the base image unless it is there; gives its name. Takes about half a minute. Raises LabError."""
    _check_machine()
    with contextlib.closing(engine.client()) as client:
        if not anew and client.images.list(name=IMAGE):
            say(f"{IMAGE} is here already")
            return IMAGE
        say(f"making {IMAGE} from Debian's packages (about half a minute)")
        with tempfile.TemporaryDirectory(prefix="balance-lab-base-") as folder:
            archive = Path(folder, "base.tar")
            _bootstrap(archive)
            repository, _, tag = IMAGE.partition(":")
            changes = ['CMD ["bash"]', f"LABEL {_MARK}"]
            client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
    say(f"{IMAGE} is made")
    return IMAGE


def _check_machine() -> None:
    if gap := engine.missing_engine():
        raise LabError(f"{gap.what}: {gap.mend}")
    if not shutil.which("mmdebstrap"):
        packages = "mmdebstrap debian-archive-keyring"
        raise LabError(f"mmdebstrap is not installed: sudo apt-get install --no-install-recommends {packages}")


def _bootstrap(archive: Path) -> None:
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _EXCLUDED]
    licences = "--dpkgopt=path-include=/usr/share/doc/*/copyright"
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *excludes, licences, _SUITE, str(archive)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise LabError(f"mmdebstrap failed: {lines[-1] if lines else f'exit code {result.returncode}'}")
