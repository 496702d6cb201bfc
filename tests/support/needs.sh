# shellcheck shell=bash
# What the tests and checks need beyond Rust, each installed only when it is missing.
#
# To be sourced. Everything that is not a Debian package goes into one cache folder, which may be
# deleted at any time.

cache=${DEVPULSE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/devpulse-test}
support=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
nextest_version=0.9.143

# Servers stand in places that only root has on its PATH.
PATH=$PATH:/usr/sbin:/sbin

say() { printf '\n== %s\n' "$*" >&2; }
fail() {
    printf '\nerror: %s\n' "$*" >&2
    exit 1
}
has() { command -v -- "$1" >/dev/null 2>&1; }

# One installer at a time: two runs side by side would write into the same folders.
with_lock() {
    mkdir -p "$cache"
    if has flock; then
        exec 9>"$cache/lock"
        flock 9
    fi
    "$@"
    if has flock; then exec 9>&-; fi
}

# The folder of PostgreSQL's programs: Debian keeps them off the PATH.
postgres_programs() {
    local folder
    for folder in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV); do
        if [ -x "$folder/initdb" ]; then
            printf '%s\n' "$folder"
            return
        fi
    done
    if has initdb; then dirname -- "$(command -v initdb)"; fi
}

# The Debian packages among those wanted that are not here yet.
missing_packages() {
    has haproxy || echo haproxy
    has prometheus && has promtool || echo prometheus
    has prometheus-alertmanager || echo prometheus-alertmanager
    [ -n "$(postgres_programs)" ] || echo postgresql
    has node || echo nodejs
    has npm || echo npm
    if ! has python3; then
        echo python3 python3-venv
    elif ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo python3-venv
    fi
}

need_debian_packages() {
    local missing as_root=()
    missing=$(missing_packages | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    if ! has apt-get; then
        fail "these programs are missing (by their Debian names): $missing. Install them and run this again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if has sudo && sudo -n true 2>/dev/null; then
            as_root=(sudo -n)
        else
            fail "missing Debian packages. Install them and run this again:
    sudo apt-get install --no-install-recommends $missing"
        fi
    fi
    say "installing Debian packages: $missing"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update >&2 || fail "apt-get update failed"
    # shellcheck disable=SC2086 # a list of names
    "${apt[@]}" install -y --no-install-recommends $missing >"$cache/apt.log" 2>&1 \
        || fail "apt-get could not install $missing: $(tail -n 5 "$cache/apt.log")"
    missing=$(missing_packages | tr '\n' ' ')
    [ -z "$missing" ] || fail "still missing after apt-get: $missing"
}

need_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return
    say "installing cargo-nextest $nextest_version (a few minutes, once)"
    cargo install --locked --no-default-features --features default-no-update "cargo-nextest@$nextest_version" >&2 \
        || fail "cargo could not install cargo-nextest"
}

# A virtual environment with the packages of requirements.txt; sets `venv`.
need_python_packages() {
    venv=$cache/python
    local wanted=$support/requirements.txt
    if [ -x "$venv/bin/python" ] && cmp -s "$wanted" "$venv/installed.txt"; then return; fi
    say "installing Python packages into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 could not make a virtual environment"
    "$venv/bin/python" -m pip install --quiet -r "$wanted" >&2 || fail "pip could not install what $wanted names"
    cp "$wanted" "$venv/installed.txt"
}

# GitHub's webhook bodies and a sender of CloudEvents; sets `node_packages`.
need_node_packages() {
    node_packages=$cache/node
    local wanted=$support/node-packages.txt
    if cmp -s "$wanted" "$node_packages/installed.txt"; then return; fi
    say "installing npm packages into $node_packages"
    rm -rf "$node_packages"
    mkdir -p "$node_packages"
    xargs npm install --silent --no-save --prefix "$node_packages" <"$wanted" >&2 \
        || fail "npm could not install what $wanted names"
    cp "$wanted" "$node_packages/installed.txt"
}

install_what_tests_need() {
    need_debian_packages
    need_nextest
    need_python_packages
    need_node_packages
}

install_what_checks_need() {
    need_debian_packages
    need_python_packages
}
