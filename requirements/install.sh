#!/usr/bin/env bash
# Set up .venv from a lock: `requirements/install.sh demo` or `requirements/install.sh dev`.
# Does nothing when the lock has not changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."

lock=${1:?which lock: demo or dev}
python=${PYTHON:-python3}
venv=.venv

fail() {
    printf 'set-up: %s\n' "$@" >&2
    exit 1
}

# dev.txt contains demo.txt, so whoever has dev has demo as well. The path is part of the stamp
# because the commands inside a virtual environment hold it: a moved checkout is set up again.
fingerprint() {
    local inputs=(requirements/install.sh requirements/demo.txt setup.py)
    [ "$1" = dev ] && inputs+=(requirements/dev.txt)
    { pwd -P; cat "${inputs[@]}"; } | sha256sum | cut -d' ' -f1
}

current() {
    [ -x "$venv/bin/tidemill" ] && [ "$(cat "$venv/.$1.stamp" 2>/dev/null)" = "$(fingerprint "$1")" ]
}

case $lock in
    demo) if current demo || current dev; then exit 0; fi ;;
    dev) if current dev; then exit 0; fi ;;
    *) fail "unknown lock '$lock'; allowed: demo, dev" ;;
esac

command -v "$python" >/dev/null || fail "no '$python' found; run: apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" -V) found; Python 3.11 or newer is needed (make PYTHON=python3.11 ...)"
missing=()
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
"$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || missing+=(libgomp1)
if [ ${#missing[@]} -gt 0 ]; then
    fail "missing from this system: ${missing[*]} (python3-venv makes virtual environments," \
        "LightGBM loads libgomp1); run: apt-get install ${missing[*]}"
fi

began=$SECONDS
rm -f "$venv"/.*.stamp
made_in="$(pwd -P) $("$python" -V)"
if [ "$(cat "$venv/.made-in" 2>/dev/null)" != "$made_in" ]; then
    echo "set-up: making a virtual environment in $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    echo "$made_in" >"$venv/.made-in"
fi

# Compiling every file of every package costs twenty seconds and most of them are never imported.
pip=("$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-compile)
echo "set-up: installing requirements/$lock.txt (about a minute; the next run skips this)"
"${pip[@]}" -r "requirements/$lock.txt"
echo "set-up: installing the tidemill command"
"${pip[@]}" --no-deps --no-build-isolation --editable .

fingerprint demo >"$venv/.demo.stamp"
if [ "$lock" = dev ]; then fingerprint dev >"$venv/.dev.stamp"; fi
echo "set-up: done in $((SECONDS - began)) s"
