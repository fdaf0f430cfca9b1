#!/bin/sh
# nogilserve, or with the first word "python" the Python it brings.
set -eu
case $0 in
    */*) self=$0 ;;
    *) self=$(command -v -- "$0") ;;
esac
while [ -h "$self" ]; do
    target=$(readlink -- "$self")
    case $target in
        /*) self=$target ;;
        *) self=$(dirname -- "$self")/$target ;;
    esac
done
bin=$(cd -- "$(dirname -- "$self")" && pwd -P)
unset PYTHONHOME PYTHONPLATLIBDIR
if [ "${1:-}" = python ]; then
    shift
    exec "$bin/@PYTHON@" "$@"
fi
@EMBEDDED@exec "$bin/@PYTHON@" -P -m nogilserve "$@"
