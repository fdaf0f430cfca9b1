#!/usr/bin/env bash
# Run the stress scenarios on a free-threaded CPython with ThreadSanitizer.
#
#   tools/tsan.sh [arguments of python -m stress]
#
# The first run builds that interpreter (tools/build-python.sh --tsan, some minutes). What it
# reports goes to build/tsan/report.PID, less what CPython's own list of suppressions names, and less
# how objects become immortal (nogilserve.prepare.immortal: one thread writes, others only read); at
# the end the reports are counted by where the access was made. Exit status 1 where stress found
# something; races of C code are for a human to judge, see docs/races.md.
set -euo pipefail

# shellcheck source=tools/basics.sh
. "$(dirname "${BASH_SOURCE[0]}")/basics.sh"

export TSAN_OPTIONS=report_bugs=0
"$ROOT/tools/build-python.sh" --tsan
HOME_OF_PYTHON=$(for made in "$CACHE"/python/*-tsan; do echo "$made"; done | sort -r | head -n 1)
ENVIRONMENT="$ROOT/.venv/tsan"
REPORTS="$ROOT/build/tsan"

if ! "$ENVIRONMENT/bin/python" -c 'import cryptography, h11, nogilserve, wsproto' 2>/dev/null; then
    say "making the virtual environment .venv/tsan"
    rm -rf "$ENVIRONMENT"
    "$HOME_OF_PYTHON/bin/python3" -m venv "$ENVIRONMENT"
    "$ENVIRONMENT/bin/python" -m pip -q --disable-pip-version-check install \
        -c "$ROOT/tools/constraints.txt" hatchling
    "$ENVIRONMENT/bin/python" -m pip -q --disable-pip-version-check install \
        -c "$ROOT/tools/constraints.txt" --no-build-isolation -e "${ROOT}[tls]"
fi

rm -rf "$REPORTS"
mkdir -p "$REPORTS"
cd "$ROOT"
SUPPRESSIONS="$ROOT/build/tsan-suppressions.txt"
{
    cat "$HOME_OF_PYTHON/share/tsan/suppressions_free_threading.txt"
    echo race:u32_set
} >"$SUPPRESSIONS"
export TSAN_OPTIONS="suppressions=$SUPPRESSIONS log_path=$REPORTS/report handle_segv=0 exitcode=0 second_deadlock_stack=1"
"$ENVIRONMENT/bin/python" -VV
status=0
"$ENVIRONMENT/bin/python" -m stress "$@" || status=1

# Each report is counted once for its summary line, which names the innermost frame.
find "$REPORTS" -type f -exec grep -h '^SUMMARY: ThreadSanitizer' {} + |
    sed 's/ in / /; s/^SUMMARY: ThreadSanitizer: //' | sort | uniq -c | sort -rn ||
    say "no reports"
exit "$status"
