"""POX's supply, with a small git repository in place of POX: each source, each refusal, and what the cache saves."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab.driver import pox_supply
from lab.driver.errors import UsageError
from lab.driver.pox_supply import Pin, find_pox, outlook

NOBODY = "http://127.0.0.1:1/pox.git"  # a port on which nothing listens


def git(folder: Path, *args: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("POX_SOURCE", raising=False)
    return tmp_path / "cache" / "balance-lab"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: the first is the pinned one, so that what is checked out isn't what is wanted."""
    folder = tmp_path / "repository"
    (folder / "pox").mkdir(parents=True)
    (folder / "pox.py").write_text("print('the pinned one')\n")
    (folder / "pox.py").chmod(0o755)
    (folder / "pox" / "core.py").write_text("core = None\n")
    (folder / "link.py").symlink_to("pox.py")
    (folder / ".gitignore").write_text("*.pyc\n/pox/tracked.cfg\n")
    (folder / "pox" / "tracked.cfg").write_text("a file that .gitignore names\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "-m", "pinned")
    (folder / "pox.py").write_text("print('a newer one')\n")
    git(folder, "commit", "--quiet", "-a", "-m", "newer")
    return folder


@pytest.fixture
def pin(repository: Path) -> Pin:
    return Pin(
        commit=git(repository, "rev-parse", "HEAD~1"),
        tree=git(repository, "rev-parse", "HEAD~1^{tree}"),
        repository=NOBODY,
    )


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch, repository: Path, pin: Pin) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")


def plain_copy(repository: Path, pin: Pin, folder: Path) -> Path:
    """As somebody would unpack it: no .git, and run once."""
    shutil.copytree(repository, folder, symlinks=True)
    git(folder, "checkout", "--quiet", pin.commit)
    shutil.rmtree(folder / ".git")
    (folder / "pox" / "__pycache__").mkdir()
    (folder / "pox" / "__pycache__" / "core.cpython-311.pyc").write_bytes(b"\0")
    return folder


def assert_is_pinned(result: pox_supply.PoxResult, cache: Path, pin: Pin) -> None:
    assert result.path == cache / f"pox-{pin.commit}"
    assert (result.path / "pox.py").read_text() == "print('the pinned one')\n"
    assert os.access(result.path / "pox.py", os.X_OK)
    assert os.readlink(result.path / "link.py") == "pox.py"
    assert (result.path / "pox" / "tracked.cfg").is_file()
    assert not (result.path / ".git").exists()
    assert not (result.path / "pox" / "__pycache__").exists()
    assert not list(cache.glob(".pox-*"))  # no scratch folder stays


@pytest.mark.parametrize("kind", ["work tree", "bare", "file URL", "plain folder"])
def test_any_source_gives_the_pinned_commit(
    kind: str, repository: Path, pin: Pin, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = str(repository)
    if kind == "bare":
        source = str(tmp_path / "bare")
        git(tmp_path, "clone", "--quiet", "--bare", str(repository), source)
    elif kind == "file URL":
        source = f"file://{repository}"
    elif kind == "plain folder":
        source = str(plain_copy(repository, pin, tmp_path / "plain"))
    monkeypatch.setenv("POX_SOURCE", source)
    result = find_pox(pin=pin)
    assert_is_pinned(result, cache, pin)
    assert source in result.why


def test_a_public_repository_in_reach_fills_the_cache(repository: Path, pin: Pin, cache: Path) -> None:
    public = Pin(commit=pin.commit, tree=pin.tree, repository=f"file://{repository}")
    assert outlook(pin=public).in_reach
    assert not cache.exists()
    assert_is_pinned(find_pox(pin=public), cache, pin)
    assert "from the cache" in find_pox(pin=public).why


@pytest.mark.parametrize("source", ["", "repository"])
def test_with_the_cache_filled_no_process_is_started(
    source: str, repository: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POX_SOURCE", str(repository))
    filled = find_pox(pin=pin).path
    monkeypatch.setenv("POX_SOURCE", str(repository) if source else "")
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: pytest.fail("started a process"))
    assert find_pox(pin=pin).path == filled


def test_a_source_is_looked_into_even_when_the_cache_is_filled(
    repository: Path, pin: Pin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POX_SOURCE", str(repository))
    find_pox(pin=pin)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("POX_SOURCE", str(other))
    with pytest.raises(UsageError, match="neither a git repository nor POX"):
        find_pox(pin=pin)


def test_a_changed_folder_is_refused_with_both_trees(
    repository: Path, pin: Pin, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plain_copy(repository, pin, tmp_path / "plain")
    (folder / "pox" / "core.py").write_text("core = 1\n")
    monkeypatch.setenv("POX_SOURCE", str(folder))
    with pytest.raises(UsageError, match=rf"holds tree [0-9a-f]{{12}}.*{pin.short}.*{pin.tree[:12]}.*unset POX_SOURCE"):
        find_pox(pin=pin)
    assert list(cache.iterdir()) == []


def test_a_repository_without_the_commit_is_refused(
    repository: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Pin(commit="0123456789" * 4, tree=pin.tree, repository=NOBODY)
    monkeypatch.setenv("POX_SOURCE", str(repository))
    with pytest.raises(UsageError, match=f"commit {absent.commit} can't be fetched from {repository}"):
        find_pox(pin=absent)


@pytest.mark.parametrize(
    ("source", "says"),
    [("/nonexistent/pox", "no such folder"), (NOBODY, "can't be reached"), ("pox", "no such folder")],
)
def test_a_source_that_is_not_there_is_a_usage_error(
    source: str, says: str, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POX_SOURCE", source)
    with pytest.raises(UsageError, match=f"^POX_SOURCE={source}: .*{says}") as error:
        find_pox(pin=pin)
    assert "\n" not in str(error.value)


def test_no_pox_anywhere_is_an_answer_that_says_what_to_do(pin: Pin) -> None:
    result = find_pox(pin=pin)
    assert result.path is None
    assert "can't be reached" in result.why
    assert "set POX_SOURCE" in result.why
    assert "\n" not in result.why


def test_a_repository_out_of_reach_is_left_alone_for_ten_minutes(
    repository: Path, pin: Pin, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_pox(pin=pin)
    back = Pin(commit=pin.commit, tree=pin.tree, repository=f"file://{repository}")
    assert "min ago" in find_pox(pin=back).why
    ago = time.time() - pox_supply.RETRY_AFTER - 1
    os.utime(cache / "pox-out-of-reach", (ago, ago))
    assert find_pox(pin=back).path is not None


def test_asked_for_by_name_it_is_tried_again_at_once(repository: Path, pin: Pin, cache: Path) -> None:
    find_pox(pin=pin)
    back = Pin(commit=pin.commit, tree=pin.tree, repository=f"file://{repository}")
    assert find_pox(explicit=True, pin=back).path is not None
    assert not (cache / "pox-out-of-reach").exists()


def test_a_repository_that_never_answers_is_given_up(tmp_path: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "bin" / "git"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\nsleep 60 & sleep 60\n")
    silent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{silent.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(pox_supply, "CONNECT_TIMEOUT", 0.2)
    assert "no answer within 0.2 s" in outlook(patience=0.2, pin=pin).why


@pytest.mark.usefixtures("no_git")
def test_without_git_a_sentence_says_so(pin: Pin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "git is not installed" in find_pox(pin=pin).why
    monkeypatch.setenv("POX_SOURCE", str(tmp_path / "repository"))
    with pytest.raises(UsageError, match="git is not installed"):
        find_pox(pin=pin)


def test_a_cache_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, repository: Path, pin: Pin, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("POX_SOURCE", str(repository))
    with pytest.raises(UsageError, match="Not a directory"):
        find_pox(pin=pin)


def test_half_a_copy_in_the_cache_is_replaced(
    repository: Path, pin: Pin, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = cache / f"pox-{pin.commit}" / "pox"
    half.mkdir(parents=True)
    (half / "core.py").write_text("broken\n")
    monkeypatch.setenv("POX_SOURCE", str(repository))
    assert_is_pinned(find_pox(pin=pin), cache, pin)


def test_runs_at_the_same_time_do_not_clash(
    repository: Path, pin: Pin, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POX_SOURCE", str(repository))
    results: list[pox_supply.PoxResult] = []
    threads = [threading.Thread(target=lambda: results.append(find_pox(pin=pin))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        assert_is_pinned(result, cache, pin)


def test_a_hook_of_another_repository_does_not_mislead_git(
    repository: Path, pin: Pin, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    monkeypatch.setenv("POX_SOURCE", str(repository))
    assert_is_pinned(find_pox(pin=pin), cache, pin)
