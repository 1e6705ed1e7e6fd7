"""What the sandbox says is missing: what, and the command that mends it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from lab.driver.backends import requirements
from lab.driver.backends.requirements import missing


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with all packages, Python 3.11, and no doubt about user namespaces."""
    monkeypatch.setattr(shutil, "which", lambda program, path: f"/usr/bin/{program}")
    monkeypatch.setattr(requirements, "_has_module", lambda module, version: True)
    monkeypatch.setattr(requirements, "_python_version", lambda: (3, 11))
    monkeypatch.setattr(requirements, "needs_user_namespace", lambda: False)


@pytest.mark.usefixtures("complete")
def test_a_complete_machine_lacks_nothing() -> None:
    assert missing(tun="/dev/null") == []


@pytest.mark.usefixtures("complete")
def test_packages_are_named_with_the_command_that_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda program, path: None if program in ("mnexec", "curl") else program)
    monkeypatch.setattr(requirements, "_has_module", lambda module, version: module not in ("mininet", "os_ken"))
    (only,) = missing(tun="/dev/null")
    assert only.what == "Debian packages are missing: curl mininet python3-os-ken"
    assert only.mend == "sudo apt-get install curl mininet python3-os-ken"


@pytest.mark.usefixtures("complete", "root")
def test_python_3_12_needs_setuptools_for_mininet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_has_module", lambda module, version: module != "setuptools")
    assert missing(tun="/dev/null") == []
    monkeypatch.setattr(requirements, "_python_version", lambda: (3, 12))
    (only,) = missing(tun="/dev/null")
    assert only.mend == "apt-get install python3-setuptools"


@pytest.mark.usefixtures("complete")
def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_python_version", lambda: (3, 9))
    assert [gap.what for gap in missing(tun="/dev/null")] == ["/usr/bin/python3 is older than Python 3.10"]


@pytest.mark.usefixtures("complete", "root")
def test_a_missing_tun_device_is_named(tmp_path: Path) -> None:
    (only,) = missing(tun=str(tmp_path / "tun"))
    assert (only.what, only.mend) == (f"there is no {tmp_path}/tun", "modprobe tun")


@pytest.mark.usefixtures("complete")
def test_a_tun_device_that_may_not_be_opened_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (only,) = missing(tun="/dev/null")
    assert (only.what, only.mend) == ("/dev/null can't be opened by this user", "sudo chmod 666 /dev/null")


@pytest.mark.usefixtures("complete")
@pytest.mark.parametrize(
    ("setting", "value", "mend"),
    [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "=0"),
        ("kernel.unprivileged_userns_clone", "0", "=1"),
        ("user.max_user_namespaces", "0", "=15000"),
    ],
)
def test_a_setting_that_forbids_user_namespaces_is_named_if_it_does(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, mend: str
) -> None:
    monkeypatch.setattr(requirements, "_sysctl", {setting: value}.get)
    monkeypatch.setattr(requirements, "user_namespace_works", lambda: False)
    assert missing(tun="/dev/null") == []  # root needs none
    monkeypatch.setattr(requirements, "needs_user_namespace", lambda: True)
    (only,) = missing(tun="/dev/null")
    assert f"{setting} = {value}" in only.what
    assert f"sudo sysctl -w {setting}{mend}" in only.mend
    monkeypatch.setattr(requirements, "user_namespace_works", lambda: True)
    assert missing(tun="/dev/null") == []


def test_looking_is_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "needs_user_namespace", lambda: False)  # where doubtful, it is tried: a process
    times = []
    for _ in range(5):
        started = time.perf_counter()
        missing()
        times.append(time.perf_counter() - started)
    assert min(times) < 0.02
