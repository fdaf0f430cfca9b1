#!/usr/bin/env bash
# Build CPython from the upstream source tarball and install it for ./dev.
#
#   tools/build-python.sh [--gil] [--plain] [--tsan] [--version 3.14|3.13] [--prefix DIR] [--jobs N]
#
# Without --gil the build is free-threaded. With --plain it is not guided by profiles: made in half
# the time, and slower; for interpreters that only run tests. With --tsan it is plain, and made by
# clang with ThreadSanitizer, for tools/tsan.sh. The releases and their SHA-256 are in
# tools/python-source.txt; the first that can be had is taken. The tarball comes from
# $NOGILSERVE_PYTHON_SOURCE, from an earlier run, or from the Debian mirror that apt is configured
# with, by apt's own downloader (and so through its proxies). It appears under the user's cache
# folder, or in DIR, only when it is complete: an interrupted run leaves nothing to be mistaken.
# shellcheck disable=SC2329 # functions are called by name, under the lock
set -euo pipefail

# shellcheck source=tools/basics.sh
. "$(dirname "${BASH_SOURCE[0]}")/basics.sh"

PACKAGES="gcc make pkg-config xz-utils libbz2-dev libffi-dev liblzma-dev libreadline-dev
    libsqlite3-dev libssl-dev libzstd-dev zlib1g-dev"

# Profile-guided, because that takes a fifth off the time of a request (LTO: 4 % more, for three
# times the work). The training is tests of what a server spends its time with; none of them waits
# or needs a network.
TRAINING="-m test --pgo --timeout=300 \
test_asyncio.test_futures test_asyncio.test_tasks test_bytes test_collections test_context \
test_datetime test_deque test_dict test_email test_exceptions test_functools test_generators \
test_hashlib test_itertools test_json test_list test_memoryio test_re test_str test_string \
test_struct test_tuple test_wsgiref test_zlib"

GIL=no
PLAIN=no
TSAN=no
ONLY=
PREFIX=
JOBS=
while [ $# -gt 0 ]; do
    case $1 in
        --gil) GIL=yes ;;
        --plain) PLAIN=yes ;;
        --tsan) TSAN=yes PLAIN=yes PACKAGES="$PACKAGES clang-19 libclang-rt-19-dev" ;;
        --jobs) JOBS=${2:?} && shift ;;
        --version) ONLY=${2:?} && shift ;;
        --prefix) PREFIX=${2:?} && shift ;;
        *) die "unknown argument: $1 (see the head of $0)" ;;
    esac
    shift
done

# releases: "version path sha256" of those that may be built, best first.
releases() {
    grep -v '^#' "$ROOT/tools/python-source.txt" | grep "^${ONLY:-3}\."
}

missing_packages() {
    local package
    for package in $PACKAGES; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' ||
            printf '%s ' "$package"
    done
}

# On Debian and its children the libraries can be named, and as root installed.
need_packages() {
    local missing
    if ! have dpkg-query; then
        if have make && { have cc || have gcc; }; then return; fi
        die "building Python needs make, a C compiler and the headers of OpenSSL, libffi, zlib, bzip2, xz and SQLite; install them, or set NOGILSERVE_PYTHON to a free-threaded Python"
    fi
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        die "building Python needs packages that are not installed; run this, then repeat:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing% }"
    fi
    say "installing what building Python needs: ${missing% }"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of words
    if ! { apt-get -q update &&
        apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends $missing; } \
        >"$WORK/apt.log" 2>&1 </dev/null; then
        tail -n 15 "$WORK/apt.log" >&2
        die "apt-get could not install them (above: what it said)"
    fi
}

# mirrors: the base addresses apt is configured with; works without package lists too.
mirrors() {
    have apt-get || return 0
    # shellcheck disable=SC2016 # apt fills it in
    apt-get indextargets --no-release-info --format '$(REPO_URI)' 2>/dev/null |
        awk '!seen[$0]++' || true
}

# fetch VERSION PATH SHA256: put the tarball where TARBALL says.
fetch() {
    local version=$1 path=$2 digest=$3 base
    TARBALL="$CACHE/source/${path##*/}"
    if [ -n "${NOGILSERVE_PYTHON_SOURCE:-}" ]; then
        [ -f "$NOGILSERVE_PYTHON_SOURCE" ] ||
            die "NOGILSERVE_PYTHON_SOURCE=$NOGILSERVE_PYTHON_SOURCE: there is no such file"
        REASON="the SHA-256 of NOGILSERVE_PYTHON_SOURCE is not in tools/python-source.txt."
        [ "$(sha256 "$NOGILSERVE_PYTHON_SOURCE")" = "$digest" ] || return 1
        TARBALL=$NOGILSERVE_PYTHON_SOURCE
        return
    fi
    if [ -f "$TARBALL" ] && [ "$(sha256 "$TARBALL")" = "$digest" ]; then return; fi
    REASON="no Debian mirror that apt is configured with gave it."
    have apt-get || REASON="there is no apt here to get it from a Debian mirror."
    [ -x /usr/lib/apt/apt-helper ] || return 1
    mkdir -p "$CACHE/source"
    say "getting the source of Python $version (24 MB) from the Debian mirror"
    for base in $(mirrors); do
        rm -f "$WORK/tarball"
        if bounded 600 /usr/lib/apt/apt-helper -o Acquire::Retries=1 download-file \
            "${base%/}/$path" "$WORK/tarball" "SHA256:$digest" >"$WORK/fetch.log" 2>&1 &&
            [ "$(sha256 "$WORK/tarball")" = "$digest" ]; then
            mv "$WORK/tarball" "$TARBALL"
            return
        fi
        say "  not at ${base%/}: $(sed -n 's/^E: Failed to fetch [^ ]* *//p' "$WORK/fetch.log" | head -n 1)"
    done
    return 1
}

# phase WORDS COMMAND…: run COMMAND with its output in the log; say every half minute that it
# still runs, and show the end of the log if it fails.
phase() {
    local words=$1 begun=$SECONDS next=30
    shift
    say "$words"
    set -m # a process group of its own, so that all of it can be ended
    "$@" >>"$WORK/build.log" 2>&1 </dev/null &
    CHILD=$!
    set +m
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 1
        if [ $((SECONDS - begun)) -ge "$next" ]; then
            say "  … $next s"
            next=$((next + 30))
        fi
    done
    if ! wait "$CHILD"; then
        CHILD=
        tail -n 25 "$WORK/build.log" >&2
        die "that failed (above: the end of its output)"
    fi
    CHILD=
}

# clean_up: at every exit. What is still being written would outlive the folder, so everything
# that was started is ended first.
clean_up() {
    local patience=50
    if [ -n "${CHILD:-}" ]; then
        kill -- "-$CHILD" 2>/dev/null || true
        while kill -0 -- "-$CHILD" 2>/dev/null && [ "$patience" -gt 0 ]; do
            sleep 0.1
            patience=$((patience - 1))
        done
        kill -KILL -- "-$CHILD" 2>/dev/null || true
    fi
    rm -rf "$WORK"
}

# made VERSION KIND: whether this one is there already and works; the one before us in the queue
# for the lock may have made it.
made() {
    local folder=${PREFIX:-$CACHE/python/$1-$2}
    [ -f "$folder/.complete" ] && "$folder/bin/python3" -E -S "$ROOT/tools/probe.py" >/dev/null 2>&1
}

build() {
    local version path digest jobs kind=ft
    local flags="--disable-test-modules --without-static-libpython"
    local compiling="compiling (3 to 5 minutes on 2 processors)"
    [ "$GIL" = no ] || kind=gil
    [ "$TSAN" = no ] || kind=tsan
    while read -r version path digest; do
        if made "$version" "$kind"; then return; fi
    done <<<"$(releases)"
    WORK="$CACHE/build.$$"
    CHILD=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    rm -rf "$CACHE"/build.* # of runs that were killed; the lock says that nobody uses them
    mkdir -p "$WORK/source" "$WORK/made" || die "cannot write below $CACHE"
    while read -r version path digest; do
        if fetch "$version" "$path" "$digest"; then break; fi
        version=
    done <<<"$(releases)"
    [ -n "$version" ] || die "no source of Python can be had: $REASON
  Either install a free-threaded Python 3.13 or later and set NOGILSERVE_PYTHON to it,
  or get a release named in tools/python-source.txt and set NOGILSERVE_PYTHON_SOURCE to the tarball."
    need_packages

    [ "$GIL" = yes ] || flags="$flags --disable-gil"
    if [ "$PLAIN" = no ]; then
        flags="$flags --enable-optimizations"
        compiling="compiling, twice, with a training run in between (6 to 10 minutes on 2 processors)"
    fi
    if [ "$TSAN" = yes ]; then
        flags="$flags --with-thread-sanitizer"
        compiling="compiling with ThreadSanitizer (5 to 10 minutes on 2 processors)"
        export CC=clang-19 CXX=clang++-19
        export TSAN_OPTIONS="report_bugs=0" # what runs while it is built is not what is looked at
    fi
    [ -n "$PREFIX" ] || PREFIX="$CACHE/python/$version-$kind"
    jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
    say "building Python $version ($kind) on $jobs processors for $PREFIX; this is done once"
    unset PYTHONHOME PYTHONPATH MAKEFLAGS
    xz -dc "$TARBALL" | tar -xf - -C "$WORK/source" --strip-components=1
    cd "$WORK/made"
    # shellcheck disable=SC2086 # lists of words
    phase "configuring (about half a minute)" \
        "$WORK/source/configure" -q --prefix="$PREFIX" $flags
    phase "$compiling" make -s -j"$jobs" PROFILE_TASK="$TRAINING"
    phase "installing (about half a minute)" make -s install DESTDIR="$WORK/root"

    if [ "$TSAN" = yes ]; then # CPython's own list of what it knows about
        mkdir -p "$WORK/root$PREFIX/share/tsan"
        cp "$WORK"/source/Tools/tsan/suppressions*.txt "$WORK/root$PREFIX/share/tsan"
    fi
    printf '%s %s %s\n' "$kind" "$version" "$digest" >"$WORK/root$PREFIX/.complete"
    mkdir -p "$(dirname "$PREFIX")"
    rm -rf "$PREFIX"
    mv "$WORK/root$PREFIX" "$PREFIX"
    say "Python $version is ready"
}

# In one piece, so that bash has read it when the file changes under a build of minutes.
{
    locked "$CACHE/lock" build
    exit
}
