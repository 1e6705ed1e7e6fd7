"""What the sandbox needs of this machine, and for each thing that is missing, the command that mends it.

Called in each run, so it only looks at files; a process is started only where a setting makes user namespaces doubtful.
The one rule: each finding names what is wrong here and what to type.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.driver.backends.base import Missing

PYTHON = "/usr/bin/python3"  # the one that Debian's packages are for, whatever `python3` is in the user's PATH
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # inside a sandbox, and where we look
TUN = "/dev/net/tun"

PROGRAMS = {
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "mnexec": "mininet",
    "ovs-vswitchd": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "curl": "curl",
    "ethtool": "ethtool",
    "ping": "iputils-ping",
    "ip": "iproute2",
    "nginx": "nginx-light",
}
MODULES = {"mininet": "mininet", "os_ken": "python3-os-ken"}

# Settings that forbid user namespaces, with the value that permits them.
USERNS_SETTINGS = {
    "kernel.apparmor_restrict_unprivileged_userns": "0",
    "kernel.unprivileged_userns_clone": "1",
    "user.max_user_namespaces": "15000",
}
_CAP_SYS_ADMIN = 21


def missing(tun: str = TUN) -> list[Missing]:
    """All that keeps a sandbox from running here. Takes a few milliseconds."""
    if not sys.platform.startswith("linux"):
        return [Missing(what="the sandbox needs Linux", mend="use Docker: --backend compose")]
    return [*_packages(), *_tun(tun), *_user_namespaces()]


def needs_user_namespace() -> bool:
    """Whether this process may make the other namespaces only from within a user namespace of its own."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return os.geteuid() != 0 or found is None or not int(found[1], 16) >> _CAP_SYS_ADMIN & 1


def user_namespace_works(before: Sequence[str] = ()) -> bool:
    """Whether the kernel permits what a sandbox needs, by trying. `before`: a command to run the trial with."""
    spaces = ["--user", "--map-root-user", "--net", "--mount", "--ipc", "--pid", "--fork", "--mount-proc"]
    command = [*before, "unshare", *spaces, "true"]
    return subprocess.run(command, env={"PATH": PATH}, capture_output=True, check=False).returncode == 0


def userns_refused() -> Missing:
    """What to say when the kernel has refused a user namespace."""
    wrong = {name: good for name, good in USERNS_SETTINGS.items() if _forbids(name)}
    if wrong:
        values = ", ".join(f"{name} = {_sysctl(name)}" for name in wrong)
        commands = " && ".join(f"sudo sysctl -w {name}={good}" for name, good in wrong.items())
        return Missing(what=f"user namespaces are not permitted here ({values})", mend=f"{commands} (or run as root)")
    return Missing(
        what=f"namespaces are not permitted here, though no setting forbids them ({', '.join(USERNS_SETTINGS)})",
        mend="run as root, or in a container with --privileged or --cap-add SYS_ADMIN --cap-add NET_ADMIN",
    )


def apt_get(packages: Sequence[str]) -> str:
    """The command that installs them, as this user has to type it."""
    return _sudo(f"apt-get install {' '.join(packages)}")


def _packages() -> Iterator[Missing]:
    version = _python_version()
    if version is not None and version < (3, 10):
        yield Missing(what=f"{PYTHON} is older than Python 3.10", mend="use a newer release of the system")
    packages = {package for program, package in PROGRAMS.items() if not shutil.which(program, path=PATH)}
    packages |= {package for module, package in MODULES.items() if not _has_module(module, version)}
    if version is None:
        packages.add("python3")
    elif version >= (3, 12) and not _has_module("setuptools", version):
        packages.add("python3-setuptools")  # Mininet 2.3.0 imports distutils, which Python 3.12 no longer has
    if packages:
        names = " ".join(sorted(packages))
        yield Missing(what=f"Debian packages are missing: {names}", mend=apt_get(sorted(packages)))


def _python_version() -> tuple[int, int] | None:
    found = re.search(r"python3\.(\d+)$", os.path.realpath(PYTHON))
    if found:
        return 3, int(found[1])
    return (3, 10) if os.access(PYTHON, os.X_OK) else None  # a Python of unknown name: assume that it will do


def _has_module(module: str, version: tuple[int, int] | None) -> bool:
    minor = version[1] if version else 0
    folders = (
        "/usr/lib/python3/dist-packages",
        f"/usr/local/lib/python3.{minor}/dist-packages",
        f"/usr/lib/python3.{minor}/site-packages",
    )
    return any(os.path.isdir(f"{folder}/{module}") for folder in folders)


def _tun(tun: str) -> Iterator[Missing]:
    if not os.path.exists(tun):
        yield Missing(what=f"there is no {tun}", mend=_sudo("modprobe tun"))
    elif not os.access(tun, os.R_OK | os.W_OK):
        yield Missing(what=f"{tun} can't be opened by this user", mend=f"sudo chmod 666 {tun}")


def _user_namespaces() -> Iterator[Missing]:
    doubtful = needs_user_namespace() and any(map(_forbids, USERNS_SETTINGS))
    if doubtful and not user_namespace_works():  # AppArmor may still permit it to some programs
        yield userns_refused()


def _forbids(name: str) -> bool:
    return _sysctl(name) == ("1" if USERNS_SETTINGS[name] == "0" else "0")


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", *name.split(".")).read_text().strip()
    except OSError:
        return None


def _sudo(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"
