"""The lab's two images: built when the sources changed, else found by their tag in milliseconds.

The tag tells the checkout and a hash of all that goes into the images, so a warm run builds nothing, and two checkouts
on one engine neither run nor remove each other's images: where their sources are the same, they share every layer.
The one rule: one driver at a time hands POX over and builds (a lock on compose.yaml).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab.driver.backends.compose_command import Compose
from lab.driver.errors import LabError

if TYPE_CHECKING:
    import docker

ROOT: Final = Path(__file__).resolve().parents[3]
NAMES: Final = ("balance-lab/controller", "balance-lab/mininet")
_SOURCES: Final = (
    "compose.yaml",
    ".dockerignore",
    "images/controller",
    "images/mininet",
    "lab/__init__.py",
    "lab/http_door.py",
    "lab/wire.py",
    "lab/wire_bench.py",
    "lab/agent",
    "lab/balancer",
    "lab/engines",
)
_HANDED_OVER: Final = ROOT / "images" / "controller" / "pox"
_UNREACHABLE: Final = (
    "registry-1.docker.io",
    "auth.docker.io",
    "failed to resolve source metadata",
    "pull access denied",
    "failed to do request: Head",
)


def ensure(client: docker.DockerClient, compose: Compose, pox: Path | None, say: Callable[[str], None]) -> str:
    """Build what is missing; gives the tag of both images. `pox` None: whatever was handed over before stays."""
    with _lock():
        if pox is not None:
            _hand_over(pox)
        tag = own_tag()
        if not all(_present(client, f"{name}:{tag}") for name in NAMES):
            say("building the lab's images (the first time a minute or two, later seconds)")
            _build(compose, tag)
            _remove_older(client, tag)
    return tag


def own_tag() -> str:
    """The tag of this checkout's images as its sources are now."""
    return f"{tree()}-{source_hash()}"


def source_hash(root: Path = ROOT, environ: Mapping[str, str] = os.environ) -> str:
    """12 hex digits over the path, mode and content of every source, and the base image's name. Some 20 ms with POX."""
    digest = hashlib.sha256(environ.get("LAB_DEBIAN", "").encode())
    for path in _files(root):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\n{path.relative_to(root)} {path.stat().st_mode & 0o111:o} {content}".encode())
    return digest.hexdigest()[:12]


def explain_failed_build(output: str) -> str:
    """One sentence on why a build failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if any(sign in output for sign in _UNREACHABLE):
        return (
            "the base image can't be pulled here: `python lab/run_lab.py base-image` makes it from Debian's packages "
            "(or name another one in LAB_DEBIAN)"
        )
    return f"the images can't be built: {lines[-1] if lines else 'the build said nothing'}"


def _files(root: Path) -> Iterator[Path]:
    for source in _SOURCES:
        place = root / source
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        yield from (path for path in inside if path.is_file() and "__pycache__" not in path.parts)


def _present(client: docker.DockerClient, image: str) -> bool:
    return bool(client.images.list(name=image))


def _build(compose: Compose, tag: str) -> None:
    # No: POX was looked for already, with the same repository among the places.
    result = compose.run("build", LAB_TAG=tag, LAB_TREE=tree(), LAB_POX_CLONE="no")
    if result.returncode:
        raise LabError(explain_failed_build(result.stdout))


def _remove_older(client: docker.DockerClient, tag: str) -> None:
    """Images that this checkout built before. One that a lab still runs keeps its place until the next build."""
    import docker.errors

    for image in client.images.list(filters={"label": f"balance-lab.tree={tree()}"}):
        for name in image.tags or [image.id or ""]:  # one image may bear several tags
            if not name.endswith(f":{tag}"):
                with suppress(docker.errors.APIError):
                    client.images.remove(name)


def tree(root: Path = ROOT) -> str:
    """12 hex digits for this checkout, by its place: the label of all images that were built from it."""
    return hashlib.sha256(str(root).encode()).hexdigest()[:12]


def _hand_over(pox: Path) -> None:
    """Lay a copy of POX's folder where the image build looks for it. The same tree is left alone."""
    wanted = {path.relative_to(pox): path for path in _pox_files(pox)}
    there = {path.relative_to(_HANDED_OVER): path for path in _pox_files(_HANDED_OVER)}
    if wanted.keys() == there.keys() and all(_same(wanted[key], there[key]) for key in wanted):
        return
    try:
        for path in there.values():
            path.unlink()
        for relative, path in wanted.items():
            target = _HANDED_OVER / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    except OSError as error:
        raise LabError(f"POX can't be laid into {_HANDED_OVER} for the image build ({error})") from None


def _pox_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in (".git", ".gitkeep") and "__pycache__" not in relative.parts:
            yield path


def _same(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()


@contextmanager
def _lock() -> Iterator[None]:
    with (ROOT / "compose.yaml").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
