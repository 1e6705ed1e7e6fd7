"""The set-up script on machines made of stand-ins: what it installs, what it leaves alone, and what it undoes.

Each test has a tree of its own with the script in it and a PATH of stand-ins that write down how they were called, so
nothing of this machine is read or changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.driver.backends import images

ROOT = Path(__file__).parent.parent
LISTS = ("tools/debian-packages", "tools/debian-packages-bench")
TOOLS = (
    "awk",
    "cat",
    "chmod",
    "cksum",
    "cut",
    "dirname",
    "env",
    "find",
    "grep",
    "id",
    "mkdir",
    "mktemp",
    "mv",
    "rm",
    "sed",
)
TOOLS += ("sh", "sha256sum", "sort", "tail", "timeout", "touch", "true")

# Its data base is a file with the names of the installed packages.
DPKG_QUERY = """
case $1 in
-W) shift
    case $1 in
    *Status*) shift; for name; do grep -qxF "$name" {db} && printf 'installed=%s ' "$name"; done; exit 0 ;;
    *) cat {db} ;;
    esac ;;
-L) printf '/lib/systemd/system/%s.service\\n/etc/init.d/%s\\n/usr/share/doc/%s\\n' "$2" "$2" "$2" ;;
esac
"""
APT_GET = """
case $1 in install) shift; [ ! -e {fail} ] || {{ echo 'E: no space' >&2; exit 100; }}
    cat {policy} >{policy}.seen 2>/dev/null
    for name; do case $name in -*) ;; *) echo "$name" >>{db} ;; esac; done ;;
esac
"""


class Machine:
    """A tree with the script in it, and a PATH that holds what a test has put there."""

    def __init__(self, folder: Path) -> None:
        self.tree = folder / "tree"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.db = folder / "packages"
        self.policy = folder / "policy-rc.d"
        self.fail = folder / "fail"
        (self.tree / "tools").mkdir(parents=True)
        (self.tree / "images" / "controller" / "pox").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("tools/setup.sh", *LISTS, "requirements.lock"):
            shutil.copy(ROOT / name, self.tree / name)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.calls.touch()
        self.db.touch()
        self.program("id", "echo 0")
        self.program("python3", self._python())

    @property
    def wanted(self) -> list[str]:
        """By the tests, so by all."""
        lines = [line for name in LISTS for line in (ROOT / name).read_text().splitlines()]
        return [line for line in lines if line and line[0] != "#"]

    def program(self, name: str, body: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{body}\n')
        (self.bin / name).chmod(0o755)

    def debian(self, *installed: str) -> None:
        self.db.write_text("".join(f"{name}\n" for name in ("dpkg", *installed)))
        self.program("dpkg-query", DPKG_QUERY.format(db=self.db))
        self.program("apt-get", APT_GET.format(db=self.db, policy=self.policy, fail=self.fail))
        self.program("deb-systemd-helper", f'echo "for $DPKG_MAINTSCRIPT_PACKAGE" >>{self.calls}')
        self.program("update-rc.d", "")

    def user(self) -> None:
        self.program("id", "echo 1000")

    def docker(self) -> None:
        self.program("docker", "")

    def setup(self, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.bin / "sh"), str(self.tree / "tools/setup.sh"), *args],
            env={
                "PATH": str(self.bin),
                "HOME": str(self.tree),
                "SETUP_POLICY": str(self.policy),
                "SETUP_PYTHON": "python3",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def called(self, start: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(start)]

    def _python(self) -> str:
        """Makes an environment whose python is the same stand-in; all else it is asked succeeds."""
        return (
            'case "$*" in "-m venv "*) mkdir -p .venv/bin; rm -f .venv/bin/python;'
            f" printf '%s\\n' '#!/bin/sh' 'echo \"venv $*\" >>{self.calls}' >.venv/bin/python;"
            " chmod 755 .venv/bin/python ;; esac"
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_only_missing_packages_are_installed_and_named_first(machine: Machine) -> None:
    machine.debian("curl", "git", "python3")
    done = machine.setup("test")
    assert done.returncode == 0, done.stderr
    (install,) = machine.called("apt-get install")
    names = install.split()[2:]
    assert "--no-install-recommends" in names
    assert [name for name in names if name[0] != "-"] == [
        n for n in machine.wanted if n not in ("curl", "git", "python3")
    ]
    assert done.stderr.startswith("set-up: installing Debian packages")
    assert "enabled or started): ca-certificates ethtool" in done.stderr.splitlines()[0]


def test_no_service_is_started_or_enabled(machine: Machine) -> None:
    machine.debian(*[name for name in machine.wanted if name != "nginx-light"])
    assert machine.setup("test").returncode == 0
    assert "exit 101" in Path(f"{machine.policy}.seen").read_text()
    assert machine.called("deb-systemd-helper") == ["deb-systemd-helper disable nginx-light.service"]
    assert machine.called("for ") == ["for nginx-light"]  # without this name it does nothing
    assert machine.called("update-rc.d") == ["update-rc.d nginx-light disable"]  # and none that was there before


@pytest.mark.parametrize("broken", [False, True], ids=["installed", "failed"])
def test_the_machines_own_policy_comes_back(machine: Machine, broken: bool) -> None:
    machine.debian()
    machine.policy.write_text("#!/bin/sh\nexit 104\n")
    if broken:
        machine.fail.touch()
    assert (machine.setup("test").returncode != 0) is broken
    assert machine.policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert not Path(f"{machine.policy}.balance-lab").exists()


def test_a_policy_left_by_a_killed_installation_is_removed(machine: Machine) -> None:
    machine.debian()
    machine.policy.write_text("#!/bin/sh\n# made by balance-lab for the time of one installation\nexit 101\n")
    assert machine.setup("test").returncode == 0
    assert not machine.policy.exists()


def test_a_failed_installation_ends_the_set_up_with_a_sentence(machine: Machine) -> None:
    machine.debian()
    machine.fail.touch()
    done = machine.setup("demo")
    assert done.returncode == 1
    assert "E: no space" in done.stderr
    assert done.stderr.endswith("set-up: the packages could not be installed; the lines above say why\n")
    assert not (machine.tree / ".cache").exists()


@pytest.mark.parametrize("purpose", ["demo", "test", "bench"])
def test_the_second_time_is_silent_quick_and_changes_nothing(machine: Machine, purpose: str) -> None:
    machine.debian()
    assert machine.setup(purpose).returncode == 0
    machine.calls.write_text("")
    start = time.monotonic()
    done = machine.setup(purpose)
    assert time.monotonic() - start < 1.0
    assert (done.returncode, done.stderr) == (0, "")
    assert {call.split()[0] for call in machine.called("")} <= {"dpkg-query", "id"}


def test_packages_are_installed_in_hashed_mode(machine: Machine) -> None:
    machine.debian(*machine.wanted)
    machine.setup("test")
    (pip,) = machine.called("venv -m pip install")
    assert "--require-hashes -r requirements.lock" in pip


def test_a_changed_lock_file_installs_anew_in_the_same_environment(machine: Machine) -> None:
    machine.debian(*machine.wanted)
    machine.setup("test")
    with (machine.tree / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    machine.calls.write_text("")
    assert machine.setup("test").returncode == 0
    assert machine.called("venv -m pip install")
    assert not machine.called("python3 -m venv")


def test_another_python_makes_the_environment_anew(machine: Machine) -> None:
    machine.debian(*machine.wanted)
    machine.setup("test")
    machine.program("python3.12", machine._python())
    assert machine.setup("test", PYTHON="python3.12").returncode == 0
    assert machine.called("python3.12 -m venv --clear .venv")
    machine.calls.write_text("")
    assert machine.setup("test").stderr == ""  # none named: the one that is there will do


def test_python_that_cannot_make_environments_gets_debians_package(machine: Machine) -> None:
    machine.debian(*machine.wanted)
    machine.program("python3", f"grep -qxF python3-venv {machine.db} || exit 1\n{machine._python()}")
    done = machine.setup("test")
    assert done.returncode == 0, done.stderr
    assert machine.called("apt-get install")[0].endswith(" python3-venv")


def test_a_python_that_does_not_fit_is_passed_over(machine: Machine) -> None:
    machine.debian(*machine.wanted)
    machine.program("python3.11", machine._python())
    machine.program("python3", "exit 1")  # as pyenv's shim of a version that isn't installed
    assert machine.setup("test").returncode == 0
    assert machine.called("python3.11 -m venv")
    assert not machine.called("apt-get")


def test_a_named_python_that_does_not_fit_is_refused(machine: Machine) -> None:
    machine.debian(*machine.wanted)
    machine.program("python3.8", "exit 1")
    done = machine.setup("test", PYTHON="python3.8")
    assert done.returncode == 1
    assert "PYTHON=python3.8 is not a Python from 3.10 on" in done.stderr


@pytest.mark.parametrize(("purpose", "installed"), [("demo", False), ("bench", True), ("test", True)])
def test_what_a_bench_compares_with_is_not_installed_for_a_demo(
    machine: Machine, purpose: str, installed: bool
) -> None:
    machine.debian()
    done = machine.setup(purpose)
    assert done.returncode == 0, done.stderr
    assert ("haproxy" in machine.db.read_text().split()) is installed
    assert "curl" in machine.db.read_text().split()


def test_a_demo_with_docker_installs_no_package(machine: Machine) -> None:
    machine.debian()
    machine.docker()
    done = machine.setup("demo")
    assert done.returncode == 0, done.stderr
    assert "the demo runs in containers" in done.stderr
    assert not machine.called("apt-get")


@pytest.mark.parametrize("registry", [True, False])
def test_the_images_base_is_pulled_or_else_made(machine: Machine, registry: bool) -> None:
    machine.debian()
    pull = 0 if registry else 1
    machine.program("docker", f'case "$1 $2" in "image inspect") exit 1 ;; "pull "*) exit {pull} ;; esac')
    done = machine.setup("demo")
    assert done.returncode == 0, done.stderr
    assert machine.called("docker pull") == ["docker pull --quiet debian:bookworm-slim"]
    made = [] if registry else ["venv lab/run_lab.py base-image"]
    assert machine.called("venv lab/run_lab.py") == made
    assert any("mmdebstrap" in call for call in machine.called("apt-get install")) is not registry


@pytest.mark.parametrize("docker", [True, False])
def test_a_user_without_sudo_needs_docker(machine: Machine, docker: bool) -> None:
    machine.debian()
    machine.user()
    if docker:
        machine.docker()
    done = machine.setup("test")
    assert not machine.called("apt-get")
    if docker:
        assert done.returncode == 0, done.stderr
        assert "only containers here, no sandbox" in done.stderr
    else:
        assert done.returncode == 1
        assert "ask an administrator for apt-get install ca-certificates curl" in done.stderr


def test_a_user_with_sudo_becomes_root_for_the_packages_alone(machine: Machine) -> None:
    machine.debian()
    machine.user()
    machine.program("sudo", '[ "$1" != -n ] || shift\n"$@"')
    assert machine.setup("test").returncode == 0
    assert machine.called("sudo")[-1].startswith("sudo sh tools/setup.sh packages ca-certificates")
    assert len(machine.called("apt-get install")) == 1


@pytest.mark.parametrize("docker", [True, False])
def test_another_distribution_gets_a_sentence(machine: Machine, docker: bool) -> None:
    if docker:
        machine.docker()
    done = machine.setup("demo")
    assert done.returncode == (0 if docker else 1)
    assert "neither Debian nor Ubuntu" in done.stderr


def test_clean_removes_what_was_made_and_names_the_packages(machine: Machine) -> None:
    machine.debian("curl")
    machine.setup("test")
    made = (".mypy_cache", "lab/__pycache__", "images/controller/pox/pox", ".cache/balance-lab/pox-1")
    for name in made:
        (machine.tree / name).mkdir(parents=True)
    keep = machine.tree / "images/controller/pox/.gitkeep"
    keep.touch()
    (machine.tree / "runs/1").mkdir(parents=True)
    done = machine.setup("clean")
    assert done.returncode == 0, done.stderr
    assert not [name for name in (*made, ".venv") if (machine.tree / name).exists()]
    assert keep.exists()
    assert (machine.tree / "runs/1").exists()
    assert "rm -r runs" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("set-up:   apt-get purge --autoremove ca-certificates ethtool")
    assert " curl" not in last
    machine.debian("curl")  # the user has removed them
    assert "apt-get" not in machine.setup("clean").stderr
    assert not (machine.tree / ".cache").exists()


def test_clean_removes_the_images_of_this_checkout_and_no_other(machine: Machine) -> None:
    machine.docker()
    assert machine.setup("clean").returncode == 0
    shutil.copytree(machine.tree, other := machine.tree.parent / "other")
    machine.tree = other.resolve()
    assert machine.setup("clean").returncode == 0
    asked = [call.rpartition("=")[2] for call in machine.called("docker image ls") if "balance-lab.tree" in call]
    assert asked == [images.tree(machine.tree.parent / "tree"), images.tree(machine.tree)]


def test_clean_on_a_clean_tree_is_fine(machine: Machine) -> None:
    machine.debian()
    assert machine.setup("clean").returncode == 0


def test_the_list_names_what_the_sandbox_checks_for(machine: Machine) -> None:
    from lab.driver.backends import requirements

    assert {*requirements.PROGRAMS.values(), *requirements.MODULES.values()} <= set(machine.wanted)


@pytest.mark.parametrize("goal", ["demo", "test", "lint", "clean", "help"])
def test_the_makefile_knows_its_goals(goal: str) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed: apt-get install make")
    done = subprocess.run([make, "--dry-run", goal], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_lock_file_pins_and_hashes_everything_that_is_asked_for() -> None:
    lines = (ROOT / "requirements.lock").read_text().replace("\\\n", "").splitlines()
    pinned = {line.split("==")[0]: line for line in lines if "==" in line}
    asked = [line.lower() for line in (ROOT / "requirements.in").read_text().split("\n") if line and line[0] != "#"]
    assert set(asked) <= set(pinned)
    assert all("--hash=sha256:" in line for line in pinned.values())
    assert sys.version_info >= (3, 10)
