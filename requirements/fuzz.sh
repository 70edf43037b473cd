#!/usr/bin/env bash
# Set up .venv-fuzz, where the decoders are fuzzed and the api's contract is tested: atheris and
# schemathesis beside what the product itself needs. Does nothing when the lock has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv-fuzz
files=(requirements/fuzz.sh requirements/fuzz.txt requirements/demo.txt)
stamp=$({ pwd -P; cat "${files[@]}"; } | sha256sum | cut -d' ' -f1)

[ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && exit 0
echo "set-up: installing requirements/fuzz.txt into $venv (about a minute)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-compile \
    -r requirements/fuzz.txt
echo "$stamp" >"$venv/.stamp"
