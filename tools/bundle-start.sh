#!/bin/sh
# nogilserve with its own Python: unpacks itself once into the user's cache, then runs from there.
#   NOGILSERVE_BUNDLES=DIR   where to, instead of ~/.cache/nogilserve/bundles
set -eu
id=@ID@
fail() {
    printf 'nogilserve: %s\n' "$1" >&2
    exit 1
}
# The folder must be ours: what lies there is run.
# shellcheck disable=SC3067 # dash, bash and busybox know -O
own() {
    (umask 077 && mkdir -p -- "$1") 2>/dev/null && [ -w "$1" ] && [ -O "$1" ] && [ ! -L "$1" ]
}
bundles=${NOGILSERVE_BUNDLES:-}
if [ -n "$bundles" ]; then
    own "$bundles" || fail "cannot write to $bundles (NOGILSERVE_BUNDLES), or it is another user's"
else
    bundles=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/nogilserve/bundles
    if ! own "$bundles"; then
        bundles=${TMPDIR:-/tmp}/nogilserve-bundles-$(id -u)
        own "$bundles" || fail "there is no folder to unpack to; name one with NOGILSERVE_BUNDLES=DIR"
    fi
fi
home=$bundles/$id
if [ ! -e "$home/.complete" ]; then
    case $0 in
        */*) self=$0 ;;
        *) self=$(command -v -- "$0") || fail "cannot find myself: call me with my path" ;;
    esac
    # Beside its place, then moved: two that start at once do not disturb each other.
    new=
    trap '[ -z "$new" ] || rm -rf "$new"' EXIT
    trap 'exit 130' INT TERM
    new=$(mktemp -d "$bundles/.unpacking-XXXXXX")
    tail -n +@LINE@ -- "$self" | gzip -dc | tar -xf - -C "$new" ||
        fail "cannot unpack to $bundles (is the disk full?)"
    : >"$new/@NAME@/.complete"
    mv -T -- "$new/@NAME@" "$home" 2>/dev/null || [ -e "$home/.complete" ] ||
        fail "cannot write to $bundles"
    rm -rf "$new"
    trap - EXIT INT TERM
fi
exec "$home/bin/nogilserve" "$@"
