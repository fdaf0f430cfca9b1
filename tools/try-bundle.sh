#!/usr/bin/env bash
# Try dist/nogilserve (./dev bundle) where there is no Python and no network: in a fresh root that
# debootstrap makes, with a network of its own that reaches nobody. Needs root, debootstrap, unshare.
#
#   ./dev bundle && sudo tools/try-bundle.sh [EXECUTABLE]
set -euo pipefail

# shellcheck source=tools/basics.sh
. "$(dirname "${BASH_SOURCE[0]}")/basics.sh"

program=${1:-$ROOT/dist/nogilserve}
[ -x "$program" ] || die "there is no $program: run ./dev bundle first"
[ "$(id -u)" = 0 ] || die "this needs root"
for tool in debootstrap unshare; do
    have "$tool" || die "$tool is missing: apt-get install $tool"
done
bare=$(mktemp -d)
trap 'umount -q "$bare/proc" "$bare/dev" || true; rm -rf --one-file-system "$bare"' EXIT
say "making a root without Python (debootstrap, about a minute)"
debootstrap --variant=minbase stable "$bare" >"$bare.log" 2>&1 || die "debootstrap failed: $bare.log"
rm -f "$bare.log"
cp "$program" "$bare/root/nogilserve"
cat >"$bare/root/main.py" <<'PYTHON'
import sqlite3, ssl, sys

def app(environ, start_response):
    start_response("200 OK", [])
    two = sqlite3.connect(":memory:").execute("select 1 + 1").fetchone()[0]
    return [f"{sys.version}, {ssl.OPENSSL_VERSION}, {two}\n".encode()]
PYTHON
cat >"$bare/root/try" <<'SHELL'
set -eu
cd /root
! command -v python3
time ./nogilserve --version
time ./nogilserve --version
./nogilserve main:app --bind 127.0.0.1:8000 2>log &
for _ in $(seq 100); do
    grep -q Listening log && break
    sleep 0.1
done
cat log
./nogilserve python -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8000").read().decode())'
./nogilserve doctor main:app
kill "$!"
wait "$!"
SHELL
mount -t proc proc "$bare/proc"
mount --bind /dev "$bare/dev"
env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin unshare -n sh -c \
    "ip link set lo up && exec chroot '$bare' bash /root/try"
say "all went well"
