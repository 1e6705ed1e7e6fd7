#!/bin/sh
# Sets a machine up for the kit, and undoes that. Called by make; POSIX sh, since there may be nothing else yet.
#
#   tools/setup.sh demo     the virtual environment; Debian's packages, unless a Docker engine and Compose can do it
#   tools/setup.sh test     the virtual environment and Debian's packages; both: the images' base where Docker is
#   tools/setup.sh bench    the virtual environment, Debian's packages and those of a bench
#   tools/setup.sh environment   the virtual environment alone
#   tools/setup.sh lock     requirements.lock anew from requirements.in
#   tools/setup.sh clean    removes what the kit has made here
#   tools/setup.sh packages NAME…   as root: installs them, and no service is enabled or started
#
# The one rule: it says what it does before it does it, does only what is missing, and says nothing when nothing is.
set -eu
cd "$(dirname "$0")/.."

STAMP=.venv/.balance-lab          # the lock file's checksum; the Python that was asked for
RECORD=.cache/installed-packages  # Debian packages that this script has installed
POLICY=${SETUP_POLICY:-/usr/sbin/policy-rc.d}  # what maintainer scripts ask before they start a service
SYSTEM_PYTHON=${SETUP_PYTHON:-/usr/bin/python3}  # Debian's own, behind whatever `python3` is in the PATH
MARK='# made by balance-lab for the time of one installation'

say() { printf 'set-up: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- Debian's packages -----------------------------------------------------------------------------------------------

on_debian() { have apt-get && have dpkg-query; }

# Those of the named packages that are not installed, on one line.
absent() {
    installed=" $(dpkg-query -W -f='${db:Status-Status}=${Package} ' "$@" 2>/dev/null || true)"
    for name in "$@"; do
        case $installed in *" installed=$name "*) ;; *) printf '%s ' "$name" ;; esac
    done
}

# Become root without asking where nobody can answer.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then sudo "$@"
    else return 99
    fi
}

compose_answers() {
    have docker || return 1
    timeout 5 docker version >/dev/null 2>&1 || return 1
    timeout 5 docker compose version >/dev/null 2>&1 || { have docker-compose && docker-compose version --short | grep -q '^v\{0,1\}[2-9]'; }
}

install_packages() {
    say "installing Debian packages, which takes a minute (no service is enabled or started): $*"
    code=0
    as_root sh tools/setup.sh packages "$@" || code=$?
    [ $code != 99 ] || return 99
    [ $code = 0 ] || fail "the packages could not be installed; the lines above say why"
    mkdir -p .cache
    printf '%s\n' "$@" >>$RECORD
}

# The files that name what is needed.
lists() { echo tools/debian-packages; [ "$purpose" = demo ] || echo tools/debian-packages-bench; }

# Packages for the sandbox. Where they can't be had, the kit still runs in containers.
sandbox_packages() {
    on_debian || { without_debian; return; }
    # shellcheck disable=SC2046  # names, a word each
    set -- $(absent $(grep -hv '^#' $(lists)) $(lacks_venv))
    [ $# != 0 ] || return 0
    if [ "$purpose" = demo ] && compose_answers; then
        say "a Docker engine and Compose answer: the demo runs in containers, and no Debian package is installed"
        return 0
    fi
    code=0
    install_packages "$@" || code=$?
    [ $code = 0 ] || compose_answers || fail "neither root nor sudo here, and no Docker: ask an administrator for apt-get install $*"
    [ $code = 0 ] || say "neither root nor sudo: only containers here, no sandbox (it lacks $*)"
}

without_debian() {
    compose_answers ||
        fail "this is neither Debian nor Ubuntu, so the sandbox can't be set up: start a Docker engine with Compose v2"
    say "neither Debian nor Ubuntu: containers only, no sandbox"
}

# What the images start from. Without a registry in reach it is made of Debian's packages.
base_image() {
    image=${LAB_DEBIAN:-debian:bookworm-slim}
    have docker && ! docker image inspect "$image" >/dev/null 2>&1 && compose_answers || return 0
    say "getting the images' base, $image"
    timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 && return 0
    say "no image registry in reach: making it of Debian's packages"
    if on_debian && ! have mmdebstrap; then install_packages mmdebstrap debian-archive-keyring || true; fi
    .venv/bin/python lab/run_lab.py base-image >&2 || say "no base image, so containers can't be built here"
}

# As root. The policy keeps services from being started; disabling keeps them so at the next boot.
packages() {
    before=$(dpkg-query -W -f='${Package}\n' | sort -u)
    deny_services
    apt-get update -qq || say "apt-get update failed; going on with the lists that are here"
    log=$(mktemp)
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get install -y -q --no-install-recommends "$@" \
        </dev/null >"$log" 2>&1 || { tail -n 30 "$log" >&2; rm -f "$log"; exit 1; }
    rm -f "$log"
    dpkg-query -W -f='${Package}\n' | sort -u | while read -r name; do
        printf '%s\n' "$before" | grep -qxF "$name" || disable_services "$name"
    done
}

deny_services() {
    if [ -e "$POLICY" ] && grep -qF "$MARK" "$POLICY"; then  # an installation was killed
        rm -f "$POLICY"
    elif [ -e "$POLICY" ] || [ -L "$POLICY" ]; then
        mv "$POLICY" "$POLICY.balance-lab"
    fi
    trap restore_policy EXIT
    trap 'exit 130' INT TERM HUP
    printf '#!/bin/sh\n%s\nexit 101\n' "$MARK" >"$POLICY"
    chmod 0755 "$POLICY"
}

restore_policy() {
    rm -f "$POLICY"
    if [ -e "$POLICY.balance-lab" ] || [ -L "$POLICY.balance-lab" ]; then mv "$POLICY.balance-lab" "$POLICY"; fi
}

disable_services() {
    dpkg-query -L "$1" | sed -En 's#^(/usr)?/lib/systemd/system/([^/@]*\.(service|socket|timer))$#\2#p' |
        while read -r unit; do
            DPKG_MAINTSCRIPT_PACKAGE=$1 deb-systemd-helper disable "$unit" >/dev/null 2>&1 || true  # or it refuses
        done
    dpkg-query -L "$1" | sed -En 's#^/etc/init\.d/([^/]*)$#\1#p' |
        while read -r script; do update-rc.d "$script" disable >/dev/null 2>&1 || true; done
}

# --- the virtual environment -----------------------------------------------------------------------------------------

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

# The first Python from 3.10 on that can make a virtual environment. `python3` may be pyenv's, old, or have no venv.
find_python() {
    for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10 $SYSTEM_PYTHON}; do
        if fits "$candidate"; then printf '%s' "$candidate"; return 0; fi
    done
    return 1
}

# In one go with the other packages, where it is foreseeable.
lacks_venv() { [ -x .venv/bin/python ] || find_python >/dev/null || echo python3-venv; }

need_python() {
    python=$(find_python) && return
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is not a Python from 3.10 on that has venv and ensurepip"
    on_debian || fail "no Python from 3.10 on that has venv and ensurepip: install one, and name it with PYTHON=…"
    install_packages python3 python3-venv ||
        fail "Python can't make virtual environments here, and there is neither root nor sudo: apt-get install python3-venv"
    python=$(find_python) || fail "this system's Python is older than 3.10: name a newer one with PYTHON=…"
}

environment() {
    lock=$(cksum <requirements.lock)
    made_lock='' made_python=''
    [ ! -f $STAMP ] || { read -r made_lock; read -r made_python; } <$STAMP || true
    asked=${PYTHON:-$made_python}  # none named: the one that is there will do
    if [ "$lock" = "$made_lock" ] && [ "$asked" = "$made_python" ] && [ -x .venv/bin/python ]; then return 0; fi
    [ "$asked" = "$made_python" ] && .venv/bin/python -c 'import pip' 2>/dev/null || make_environment
    say "installing Python packages into .venv, as requirements.lock pins them"
    PIP_USER=0 .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-input \
        --require-hashes -r requirements.lock >&2 || fail "pip could not install them; the lines above say why"
    printf '%s\n' "$lock" "$asked" >$STAMP
}

make_environment() {
    need_python
    say "making a virtual environment in .venv with $("$python" -c 'import sys; print(sys.executable)')"
    "$python" -m venv --clear .venv || fail "the virtual environment could not be made"
}

# By uv, as pip can't lock for other platforms and Pythons; it is needed for nothing else, so it goes again.
lock() {
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --target "$tools" uv
    head='# Made from requirements.in by `make lock`: every version and hash, for every platform and Python from 3.10 on.'
    "$tools/bin/uv" pip compile --quiet --no-config --universal --python-version 3.10 --fork-strategy fewest --upgrade \
        --no-python-downloads --generate-hashes --no-annotate --no-header requirements.in -o "$tools/lock" >/dev/null
    { printf '%s\n' "$head"; cat "$tools/lock"; } >requirements.lock
}

# --- and back --------------------------------------------------------------------------------------------------------

clean() {
    [ ! -x .venv/bin/python ] || [ ! -f lab/driver/cli.py ] ||
        .venv/bin/python lab/run_lab.py down --all >/dev/null 2>&1 || say "no kept lab could be ended"
    clean_images
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/balance-lab
    rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache/ci "$cache"
    find images/controller/pox -mindepth 1 ! -name .gitkeep -delete
    find . -name __pycache__ -type d -prune -exec rm -rf {} +
    say "removed: virtual environment, caches, the copy of POX ($cache), images"
    [ ! -d runs ] || say "the results in runs/ stay, for they are yours: rm -r runs"
    [ ! -f $RECORD ] || remind_of_packages
}

# Those of this checkout, by the label that lab/driver/backends/images.py gives them, and the base the kit made.
clean_images() {
    have docker && timeout 5 docker version >/dev/null 2>&1 || return 0
    tree=$(printf %s "$(pwd -P)" | sha256sum | cut -c 1-12)
    for label in "balance-lab.tree=$tree" balance-lab.base; do
        # shellcheck disable=SC2046  # ids, a word each
        set -- $(docker image ls --quiet --filter "label=$label" | sort -u)
        [ $# = 0 ] || docker image rm --force "$@" >/dev/null || say "some images are still in use"
    done
}

# Packages stay: by now something else may need them, and this is the user's decision.
remind_of_packages() {
    # shellcheck disable=SC2046
    set -- $(sort -u $RECORD)
    missing=" $(absent "$@")"
    still=
    for name in "$@"; do case $missing in *" $name "*) ;; *) still="$still $name" ;; esac; done
    if [ -n "$still" ]; then
        say "the Debian packages that were installed for the kit are still here; if nothing else needs them:"
        say "  $([ "$(id -u)" = 0 ] || printf 'sudo ')apt-get purge --autoremove$still"
    else
        rm -r .cache
    fi
}

purpose=${1:-}
case $purpose in
    demo | test | bench) sandbox_packages; environment; base_image ;;
    environment) environment ;;
    lock) lock ;;
    clean) clean ;;
    packages) shift; packages "$@" ;;
    *) fail "usage: tools/setup.sh demo|test|bench|environment|lock|clean" ;;
esac
