# The project's virtual environment; sourced by ./dev. One folder below .venv/ for each
# interpreter; ENVIRONMENT is the one in use. Works with bash 3.2 (macOS).
# shellcheck shell=bash

# Everything that decides what is installed. The path is in it because scripts name it.
environment_state() {
    printf '%s %s' "$ROOT" "$(sha256 "$ROOT/pyproject.toml" "$ROOT/tools/constraints.txt")"
}

# group_ready GROUP: whether ENVIRONMENT works and has GROUP as it is asked for today.
group_ready() {
    [ "$(cat "$ENVIRONMENT/.has-$1" 2>/dev/null)" = "$(environment_state)" ] &&
        [ ! -e "$ENVIRONMENT/.unfinished" ] &&
        "$ENVIRONMENT/bin/python" -c 'import nogilserve' 2>/dev/null
}

# pip ARGUMENTS…: the environment's pip; its output is shown when it fails.
pip() {
    local log="$ENVIRONMENT/pip.log"
    if ! "$ENVIRONMENT/bin/python" -m pip --disable-pip-version-check --no-input --retries 2 \
        "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "pip could not install what the project needs (above: the end of $log)"
        say "if the package index cannot be reached, set PIP_INDEX_URL (and HTTPS_PROXY), or PIP_FIND_LINKS to a folder of wheels, and run the command again"
        return 1
    fi
}

# install_group GROUP: under the lock. An installation that was interrupted is begun anew,
# because nobody knows how far it came.
install_group() {
    group_ready "$1" && return
    if [ -e "$ENVIRONMENT/.unfinished" ] || ! "$ENVIRONMENT/bin/python" -m pip --version >/dev/null 2>&1; then
        say "making the virtual environment ${ENVIRONMENT#"$ROOT"/} (Python $PYTHON_VERSION, $PYTHON_KIND)"
        rm -rf "$ENVIRONMENT"
        mkdir -p "$ENVIRONMENT"
        : >"$ENVIRONMENT/.unfinished"
        "$PYTHON" -m venv "$ENVIRONMENT" || return
    fi
    : >"$ENVIRONMENT/.unfinished"
    say "installing the packages of the group \"$1\" (usually less than a minute)"
    pip install -c "$ROOT/tools/constraints.txt" 'pip>=25.1' hatchling || return
    pip install -c "$ROOT/tools/constraints.txt" --no-build-isolation -e "$ROOT" \
        --group "$ROOT/pyproject.toml:$1" || return
    printf '%s\n' "$PYTHON" >"$ENVIRONMENT/.interpreter"
    environment_state >"$ENVIRONMENT/.has-$1"
    rm -f "$ENVIRONMENT/.unfinished"
}

# use_environment GROUP…: the environment of PYTHON, with these groups installed.
use_environment() {
    local tag group
    tag=$PYTHON_VERSION
    [ "$PYTHON_KIND" = gil ] || tag=${tag}t
    ENVIRONMENT="$ROOT/.venv/$tag-$(printf '%s' "$PYTHON" | cksum | cut -d' ' -f1)"
    for group in "$@"; do
        group_ready "$group" || locked "$ROOT/.venv/lock" install_group "$group" || exit 1
    done
}

# enter_environment: what activating it does. The variables of ./dev stay behind: the server takes
# NOGILSERVE_… for its own options. Bytecode is kept whatever the machine says: the tests start
# thousands of servers, and each would compile the package again.
enter_environment() {
    export VIRTUAL_ENV="$ENVIRONMENT" PATH="$ENVIRONMENT/bin:$PATH"
    unset PYTHONHOME NOGILSERVE_PYTHON NOGILSERVE_PYTHON_SOURCE PYTHONDONTWRITEBYTECODE
}
