# Shared by ./dev and tools/*.sh; sourced, not run. Works with bash 3.2 (macOS).
# shellcheck shell=bash disable=SC2034

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/nogilserve

say() { printf 'dev: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# sha256 FILE…: the hexadecimal digest of the files, one behind the other.
sha256() {
    if have sha256sum; then
        cat -- "$@" | sha256sum | cut -d' ' -f1
    else
        cat -- "$@" | shasum -a 256 | cut -d' ' -f1
    fi
}

# bounded SECONDS CMD…: run CMD, end it when it takes longer (status 124).
bounded() {
    local limit=$1 pid waited=0
    shift
    if have timeout; then
        timeout "$limit" "$@"
        return
    fi
    "$@" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if [ "$waited" -ge "$limit" ]; then
            kill "$pid" 2>/dev/null
            wait "$pid" 2>/dev/null
            return 124
        fi
        sleep 1
        waited=$((waited + 1))
    done
    wait "$pid"
}

# attended CMD…: run CMD; a signal that ends us ends it first, and we wait until it has cleaned up.
attended() {
    local child status=0
    "$@" &
    child=$!
    # shellcheck disable=SC2064 # the number of now
    trap "kill $child 2>/dev/null; wait $child || true; exit 130" INT TERM HUP
    wait "$child" || status=$?
    trap - INT TERM HUP
    return "$status"
}

# grab_lock [-n]: lock file descriptor 9 as flock(1) does, which macOS lacks. The lock belongs to
# the open file: it outlives the command that took it and goes with the shell that holds it.
grab_lock() {
    if have flock; then
        flock "$@" 9
    elif have perl; then
        perl -MFcntl=:flock -e 'open(F, ">&=9"); exit !flock(F, @ARGV ? LOCK_EX|LOCK_NB : LOCK_EX)' -- "$@"
    fi
}

# locked FILE FUNCTION…: run FUNCTION while no other ./dev holds FILE. What FUNCTION starts inherits
# the lock: if we are killed, the next ./dev waits until nothing writes any more.
locked() {
    local file=$1 status
    shift
    mkdir -p "$(dirname "$file")" || die "cannot make the folder of $file"
    exec 9>"$file"
    if ! grab_lock -n; then
        say "another ./dev is doing the same set-up; waiting for it"
        grab_lock
    fi
    "$@"
    status=$?
    exec 9>&-
    return "$status"
}
