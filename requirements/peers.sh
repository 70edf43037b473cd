#!/usr/bin/env bash
# Set up .venv-bench-peers, where the benchmarks' peers run: quixstreams, Bytewax, Feast, River,
# Vowpal Wabbit, CapyMOA (which needs Java 17 or newer on the machine) and FLAML with its learners
# (xgboost-cpu is the build of XGBoost without 350 MB of CUDA; FLAML allows no XGBoost from 3 on).
# Does nothing when the lock has not changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv-bench-peers
stamp=$({ pwd -P; cat requirements/peers.sh requirements/peers.txt; } | sha256sum | cut -d' ' -f1)

[ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && exit 0
echo "set-up: installing requirements/peers.txt into $venv (about a minute)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-compile \
    -r requirements/peers.txt
echo "$stamp" >"$venv/.stamp"
