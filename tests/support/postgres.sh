# shellcheck shell=bash
# A PostgreSQL server of the tests' own: a temporary folder, a free port, gone when they end.
#
# To be sourced after needs.sh.

postgres_home=

# PostgreSQL refuses to run as root.
as_postgres() {
    if [ "$(id -u)" -eq 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Sets DEVPULSE_TEST_POSTGRES_URL, unless it names a server already, and stops the server when the
# script ends. Arguments are options of the server.
postgres_for_this_run() {
    if [ -n "${DEVPULSE_TEST_POSTGRES_URL:-}" ]; then return; fi
    trap postgres_stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    postgres_start "$@"
}

postgres_start() {
    local programs port attempt
    programs=$(postgres_programs)
    # The user postgres must be able to reach the folder, and root's TMPDIR may be closed to it.
    if [ "$(id -u)" -eq 0 ]; then
        postgres_home=$(mktemp -d /tmp/devpulse-postgres.XXXXXX)
        chown postgres "$postgres_home"
    else
        postgres_home=$(mktemp -d)
    fi
    cd "$postgres_home" || return
    as_postgres "$programs/initdb" --pgdata=data --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 \
        --no-sync >initdb.log 2>&1 || fail "initdb: $(tail -n 5 initdb.log)"
    for attempt in 1 2 3; do
        port=$(free_port)
        # No socket file: everything goes through 127.0.0.1.
        if as_postgres "$programs/pg_ctl" start --pgdata=data --wait --silent --log=data/server.log \
            --options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='' -c max_connections=300 $*" >&2; then
            export DEVPULSE_TEST_POSTGRES_URL=postgres://postgres@127.0.0.1:$port/postgres
            cd - >/dev/null || return
            return 0
        fi
        say "PostgreSQL did not start on port $port (attempt $attempt of 3)"
    done
    fail "PostgreSQL did not start: $(tail -n 5 data/server.log)"
}

postgres_stop() {
    [ -n "$postgres_home" ] || return 0
    cd "$postgres_home" || return 0
    as_postgres "$(postgres_programs)/pg_ctl" stop --pgdata="$postgres_home/data" --mode=immediate --silent >&2 || true
    cd / && rm -rf "$postgres_home"
    postgres_home=
}
