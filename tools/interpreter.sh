# Finding an interpreter; sourced by ./dev. The results are in PYTHON (path), PYTHON_KIND (ft or
# gil) and PYTHON_VERSION. Works with bash 3.2 (macOS).
# shellcheck shell=bash

# probe CANDIDATE: run it; set the results when it is fit, else PROBLEM, and fail.
probe() {
    local answer
    PROBLEM=
    if answer=$("$1" -E -S "$ROOT/tools/probe.py" 2>&1); then
        PYTHON=$1
        PYTHON_KIND=${answer%% *}
        PYTHON_VERSION=${answer#* }
        return 0
    fi
    PROBLEM=${answer:-"it does not run"}
    return 1
}

# accept KIND CANDIDATE: probe it and insist on the kind; says why not.
accept() {
    [ -n "$2" ] || return 1
    if ! probe "$2"; then
        say "passing over $2: ${PROBLEM%%$'\n'*}"
        return 1
    fi
    [ "$PYTHON_KIND" = "$1" ]
}

# What the user chose is used or complained of, never replaced.
find_chosen() {
    [ -n "${NOGILSERVE_PYTHON:-}" ] || return 1
    local path
    path=$(command -v "$NOGILSERVE_PYTHON") || die "NOGILSERVE_PYTHON=$NOGILSERVE_PYTHON: there is no such program"
    probe "$path" || die "NOGILSERVE_PYTHON=$NOGILSERVE_PYTHON cannot be used: $PROBLEM"
    [ "$PYTHON_KIND" = ft ] ||
        say "note: NOGILSERVE_PYTHON is a GIL build of Python $PYTHON_VERSION: threads will not run in parallel"
}

# find_ours KIND [VERSION]: one that tools/build-python.sh made earlier, the newest first.
find_ours() {
    local complete kind version _
    while read -r complete; do
        [ -f "$complete" ] || continue
        read -r kind version _ <"$complete"
        [ "$kind" = "$1" ] || continue
        case $version in "${2:-3}".*) ;; *) continue ;; esac
        accept "$1" "${complete%/.complete}/bin/python3" && return
    done < <(printf '%s\n' "$CACHE/python"/*/.complete | sort -r)
    return 1
}

# One that uv has, or installs: a bounded try, since its download may be refused or hang.
find_uv() {
    local path
    have uv || return 1
    path=$(bounded 20 uv python find --no-python-downloads 3.14t 2>/dev/null)
    if [ -n "$path" ] && accept ft "$path"; then return; fi
    say "asking uv for a free-threaded Python 3.14 (a minute at most)"
    UV_HTTP_TIMEOUT=10 UV_HTTP_RETRIES=0 bounded 60 uv python install -q 3.14t >/dev/null 2>&1 || {
        say "uv could not install one here"
        return 1
    }
    path=$(bounded 20 uv python find --no-python-downloads 3.14t 2>/dev/null)
    accept ft "$path"
}

# A free-threaded interpreter that is already here: on PATH, pyenv's, or ours.
find_here() {
    local name path
    for name in python3.14t python3.15t python3.13t; do
        have "$name" && accept ft "$(command -v "$name")" && return
        for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions"/3.*t/bin/"$name"; do
            [ -x "$path" ] && accept ft "$path" && return
        done
    done
    find_ours ft
}

# find_gil MINOR: an ordinary build of Python 3.MINOR or later on PATH, ours, or pyenv's.
find_gil() {
    local minor name path
    for minor in 15 14 13; do
        [ "$minor" -ge "$1" ] || continue
        path=$(command -v "python3.$minor") && probe "$path" && [ "$PYTHON_KIND" = gil ] && return
        for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python3; do
            [ -x "$path" ] && probe "$path" && [ "$PYTHON_KIND" = gil ] && return
        done
    done
    for name in python3 python; do
        path=$(command -v "$name") && probe "$path" && [ "$PYTHON_KIND" = gil ] &&
            minor=${PYTHON_VERSION#3.} && [ "${minor%%.*}" -ge "$1" ] && return
    done
    find_ours gil
}

# need_free_threaded: find one or build one; fails after saying what is missing.
need_free_threaded() {
    find_chosen && return
    find_here && return
    find_uv && return
    say "no free-threaded Python 3.13 or later on PATH (python3.14t, python3.15t, python3.13t)"
    attended "$ROOT/tools/build-python.sh" && find_ours ft
}

# need_gil: an ordinary build of Python 3.14 or later, to test with.
need_gil() {
    find_gil 14 && return
    attended "$ROOT/tools/build-python.sh" --gil --plain && find_ours gil
}

# guided: whether PYTHON was built with profiles.
guided() {
    "$PYTHON" -c 'import sys, sysconfig as s
sys.exit("--enable-optimizations" not in (s.get_config_var("CONFIG_ARGS") or ""))'
}

# need_guided_gil: an ordinary build of Python 3.14 or later, made as well as ours is: beside a plain
# one every server would look fast.
need_guided_gil() {
    local built=$CACHE/bench/gil
    if [ -f "$built/.complete" ] && accept gil "$built/bin/python3"; then return; fi
    find_gil 14 && guided && return
    attended "$ROOT/tools/build-python.sh" --gil --prefix "$built" && accept gil "$built/bin/python3"
}

# need_old: a free-threaded Python 3.13, the oldest that is supported, to test with.
need_old() {
    local path
    path=$(command -v python3.13t) && accept ft "$path" && return
    for path in "${PYENV_ROOT:-$HOME/.pyenv}/versions"/3.13*t/bin/python3.13t; do
        [ -x "$path" ] && accept ft "$path" && return
    done
    find_ours ft 3.13 && return
    attended "$ROOT/tools/build-python.sh" --plain --version 3.13 && find_ours ft 3.13
}

# fall_back PATH: use this GIL build, or fail. What was chosen is kept, so that the vain search
# and build are not repeated at every command.
fall_back() {
    probe "$1" && [ "$PYTHON_KIND" = gil ] || return 1
    mkdir -p "$ROOT/.venv" && printf '%s\n' "$1" >"$ROOT/.venv/fallback"
    say "note: using the GIL build of Python $PYTHON_VERSION at $1: it works, but Python code runs on one core at a time"
    say "note: ./dev test tries again to get a free-threaded one"
}

# need_any: free-threaded, else an ordinary build: slower, but it serves.
need_any() {
    find_chosen && return
    if [ -f "$ROOT/.venv/fallback" ]; then
        find_here && return
        fall_back "$(cat "$ROOT/.venv/fallback")" && return
    fi
    need_free_threaded && return
    find_gil 13 || die "and there is no ordinary Python 3.13 or later either"
    fall_back "$PYTHON"
}
