#!/bin/sh
# Take out of an installed Python what a server has no use for: its tests, graphics, and what is
# needed to build extension modules. For images.
#
#   tools/slim-python.sh PREFIX
set -eu
[ $# -eq 1 ] && [ -x "$1/bin/python3" ] || {
    echo "usage: tools/slim-python.sh PREFIX, where PREFIX/bin/python3 is" >&2
    exit 2
}
for library in "$1"/lib/python3*; do
    rm -rf "$library/test" "$library/idlelib" "$library/tkinter" "$library/turtledemo" \
        "$library/turtle.py" "$library"/config-*
    find "$library" -type d \( -name test -o -name tests \) -prune -exec rm -rf {} +
    find "$library" -type d -name __pycache__ -prune -exec rm -rf {} +
    rm -f "$library"/lib-dynload/_test*.so "$library"/lib-dynload/_tkinter*.so
done
rm -rf "$1/include" "$1/share" "$1/lib/pkgconfig"
for program in "$1"/bin/*; do
    [ -L "$program" ] || [ ! -f "$program" ] || strip --strip-unneeded "$program" 2>/dev/null || true
done
find "$1/lib" -name '*.so' -exec strip --strip-unneeded {} +
"$1/bin/python3" -c 'import asyncio, ssl, sqlite3, zlib'
