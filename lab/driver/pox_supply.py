"""Where POX comes from: POX_SOURCE, the kit's cache, or the public repository, in this order.

POX is in no package archive and its code is never committed, so it is supplied by whoever has it: a folder, a git
repository (a bare one too) or a git URL. The one rule: whatever the source, what is used is the pinned commit, proven
by git's own hashes, as a plain tree in the cache that appears there whole or not at all.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.driver.errors import UsageError

CONNECT_TIMEOUT = 10.0  # s, until the repository has said what it holds
FETCH_TIMEOUT = 180.0  # s, for the commit itself: 2 MB
RETRY_AFTER = 600.0  # s, for which `auto` believes that a repository out of reach still is
SUPPLY = "set POX_SOURCE to a copy of POX (a folder, a git repository or a git URL)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """The one version that is used. A folder without git's history is known by its tree."""

    commit: str
    tree: str
    repository: str

    @property
    def short(self) -> str:
        return self.commit[:7]


PIN = Pin(
    commit="20d291825de5e1038e4500382e842e4f95b5731a",
    tree="fec25b4b8dad94a092b0dea9a5f50518dbea7a4a",
    repository="https://github.com/noxrepo/pox.git",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PoxResult:
    """POX's folder or None, and one sentence on where it is from or why there is none."""

    path: Path | None
    why: str
    in_reach: bool = False  # not here, but its repository answers


class _Unavailable(Exception):
    """POX can't be had from the source just tried; the text is a clause that says why."""


def find_pox(explicit: bool = False, pin: Pin = PIN) -> PoxResult:
    """POX at the pinned commit. With the cache filled: no process, no network, under 5 ms.

    explicit: POX was asked for by name, so a repository that was out of reach lately is tried again. Raises UsageError
    when POX_SOURCE is set and doesn't give the pinned commit; no POX at all is an answer, not an error."""
    source = os.environ.get("POX_SOURCE", "").strip()
    if not source:
        return _unasked(explicit, pin)
    try:
        return _from_source(source, pin)
    except (_Unavailable, OSError) as error:
        raise UsageError(f"POX_SOURCE={source}: {error}") from None


def outlook(patience: float = 1.0, pin: Pin = PIN) -> PoxResult:
    """What a run would find, without fetching anything that is far: `path` is None also for what is only in reach.

    patience: s, for a repository to answer. Raises UsageError as find_pox does."""
    source = os.environ.get("POX_SOURCE", "").strip()
    if _is_pox(_target(pin)) or os.path.exists(os.path.expanduser(source)):
        return find_pox(pin=pin)
    repository = source or pin.repository
    if not source and (lately := _lately(_failure())):
        return PoxResult(path=None, why=f"no POX here: {lately}")
    try:
        _reach(repository, patience)
    except (_Unavailable, OSError) as error:
        return PoxResult(path=None, why=f"no POX here: {error}")
    why = f"POX is not here yet, but {repository} answers: the first run fetches it"
    return PoxResult(path=None, why=why, in_reach=True)


def cache_folder() -> Path:
    """The kit's folder in the user's cache; it need not exist."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "balance-lab"


def _unasked(explicit: bool, pin: Pin) -> PoxResult:
    target = _target(pin)
    if _is_pox(target):
        return PoxResult(path=target, why=f"POX {pin.short} from the cache {target}")
    failure = _failure()
    if not explicit and (lately := _lately(failure)):
        return PoxResult(path=None, why=f"no POX here: {lately}; {SUPPLY}")
    try:
        _reach(pin.repository)
        _make(target, lambda git: _fetch(git, pin.repository, pin), pin)
    except (_Unavailable, OSError) as error:
        _remember(failure, str(error))
        return PoxResult(path=None, why=f"no POX here: {error}; {SUPPLY}")
    failure.unlink(missing_ok=True)
    return PoxResult(path=target, why=f"POX {pin.short} from {pin.repository}, now in the cache {target}")


def _from_source(source: str, pin: Pin) -> PoxResult:
    """A source is looked into once; after that its line in the cache says that it held the pinned commit."""
    where = _locate(source)
    target = _target(pin)
    seen = target.with_name(f"{target.name}.sources")
    mark = f"{where}\t{os.stat(where).st_mtime_ns if isinstance(where, Path) else '-'}"
    if _is_pox(target) and seen.is_file() and mark in seen.read_text().splitlines():
        return PoxResult(path=target, why=f"POX {pin.short} from POX_SOURCE ({source}), cached")
    if isinstance(where, Path) and not _is_repository(where):
        _make(target, lambda git: _read_folder(git, where, pin), pin)
    else:
        if isinstance(where, str):
            _reach(where)
        _make(target, lambda git: _fetch(git, str(where), pin), pin)
    with seen.open("a") as file:
        file.write(mark + "\n")
    return PoxResult(path=target, why=f"POX {pin.short} from POX_SOURCE ({source})")


def _failure() -> Path:
    return cache_folder() / "pox-out-of-reach"


def _target(pin: Pin) -> Path:
    return cache_folder() / f"pox-{pin.commit}"


def _is_pox(folder: Path) -> bool:
    return (folder / "pox.py").is_file()


def _locate(source: str) -> Path | str:
    path = Path(source).expanduser()
    if path.exists():
        return path.resolve()
    if "://" in source or re.match(r"[\w.@-]+:\S", source):
        return source
    raise _Unavailable("no such folder; give a folder, a git repository or a git URL, or unset it")


def _is_repository(path: Path) -> bool:
    return (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir())


def _lately(failure: Path) -> str:
    """Why the repository was out of reach, if that is not long ago; else empty."""
    try:
        age = time.time() - failure.stat().st_mtime
        why = failure.read_text().strip()
    except OSError:
        return ""
    if not 0 <= age < RETRY_AFTER:
        return ""
    return f"{why}, {age / 60:.0f} min ago (tried again after {RETRY_AFTER / 60:.0f}, or with --engine pox)"


def _remember(failure: Path, why: str) -> None:
    try:
        failure.parent.mkdir(parents=True, exist_ok=True)
        failure.write_text(why + "\n")
    except OSError:
        pass  # only the next run's time is at stake


def _make(target: Path, fill: Callable[[_Git], None], pin: Pin) -> None:
    """Let `fill` read the pinned tree into an index, check it out beside `target` and move it there in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pox-", dir=target.parent) as scratch:
        git = _Git(Path(scratch, "git"))
        git.run("init", "--quiet", "--bare", str(git.folder))
        fill(git)
        tree = git.run("write-tree")
        if tree != pin.tree:
            raise _Unavailable(
                f"it holds tree {tree[:12]}, not that of POX's pinned commit {pin.short} ({pin.tree[:12]}); "
                f"give an unchanged copy of that commit or a git repository that has it, or unset POX_SOURCE"
            )
        new = Path(scratch, "new")
        new.mkdir()
        git.run("--work-tree", str(new), "checkout-index", "--all", cwd=new)
        _move(new, target, aside=Path(scratch, "old"))


def _move(new: Path, target: Path, aside: Path) -> None:
    if target.exists() and not _is_pox(target):
        target.rename(aside)  # somebody's half: rename can't replace a folder that holds files
    try:
        new.rename(target)
    except OSError:
        if not _is_pox(target):  # else another run was quicker, with the same tree
            raise


def _read_folder(git: _Git, folder: Path, pin: Pin) -> None:
    if not _is_pox(folder):
        raise _Unavailable("neither a git repository nor POX (there is no pox.py in it)")
    # --force: POX has files that its own .gitignore names. Left out is what running it leaves behind.
    left_behind = (":(exclude,glob)**/__pycache__/**", ":(exclude,glob)**/*.pyc")
    git.run("--work-tree", str(folder), "add", "--all", "--force", ".", *left_behind, cwd=folder)


def _fetch(git: _Git, source: str, pin: Pin) -> None:
    """Into a repository of our own: git checks every object by its hash, and no configuration of the source applies."""
    try:
        git.run("fetch", "--quiet", "--no-tags", "--depth=1", source, pin.commit, timeout=FETCH_TIMEOUT)
    except _Unavailable as error:
        raise _Unavailable(f"POX's pinned commit {pin.commit} can't be fetched from {source} ({error})") from None
    git.run("read-tree", pin.commit)


def _reach(repository: str, patience: float = CONNECT_TIMEOUT) -> None:
    """Fail early where nobody answers: git itself has no time-out for a connection."""
    with tempfile.TemporaryDirectory(prefix="balance-lab-") as empty:
        try:
            _Git(Path(empty)).run("ls-remote", "--quiet", repository, "HEAD", timeout=patience, bare=False)
        except _Unavailable as error:
            raise _Unavailable(f"{repository} can't be reached ({error})") from None


# Of the user's own settings, those that would change a tree.
_SETTINGS = ("-c", "core.autocrlf=false", "-c", "core.excludesFile=/dev/null", "-c", "core.fileMode=true")
_OTHERS_REPOSITORY = re.compile(r"GIT_(DIR|WORK_TREE|INDEX|OBJECT)")  # set where we are called from a hook


class _Git:
    """Git on one repository of ours, quiet, never asking for anything, with no setting of the caller's repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *args: str, timeout: float = 60.0, cwd: Path | None = None, bare: bool = True) -> str:
        """Its standard output, stripped. Raises _Unavailable with git's last word."""
        program = shutil.which("git")
        if program is None:
            raise _Unavailable("git is not installed (apt-get install git)")
        command = [program, *_SETTINGS, *(("--git-dir", str(self.folder)) if bare else ()), *args]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd or self.folder.parent,
            env=_environment(),
            start_new_session=True,  # so that its helpers end with it
        )
        return _finish(process, timeout)


def _finish(process: subprocess.Popen[str], timeout: float) -> str:
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise _Unavailable(f"no answer within {timeout:g} s") from None
        raise
    if process.returncode != 0:
        raise _Unavailable(_last_word(errors) or f"git ended with exit code {process.returncode}")
    return output.strip()


def _last_word(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line for line in lines if re.match(r"(fatal|error|ERROR|ssh): ?", line)] or lines
    return re.sub(r"^(?:fatal|error): |unable to access '.*?': ", "", said[0]).rstrip(".: ") if said else ""


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _OTHERS_REPOSITORY.match(name)}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "LC_ALL": "C"}
    ssh = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10"}
    return {**ssh, **kept, **quiet}
