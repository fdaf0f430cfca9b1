#!/bin/sh
# Install this checkout for running: the steps of the Dockerfiles, and of whoever has no container.
#
#   tools/install.sh PYTHON FOLDER [EXTRAS]
#
# makes FOLDER, a virtual environment of PYTHON, with nogilserve and its optional dependencies
# EXTRAS ("speed,reload") in the versions of tools/constraints.txt. FOLDER/bin/nogilserve is it.
set -eu
[ $# -ge 2 ] || {
    echo "usage: tools/install.sh PYTHON FOLDER [EXTRAS]" >&2
    exit 2
}
python=$1
folder=$2
extras=${3:-}
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
"$python" -m venv "$folder"
"$folder/bin/python" -m pip --disable-pip-version-check --no-input install --no-cache-dir \
    -c "$root/tools/constraints.txt" "$root${extras:+[$extras]}"
"$folder/bin/python" -m compileall -q "$folder"/lib/python*/site-packages
"$folder/bin/nogilserve" --version
