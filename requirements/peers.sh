#!/usr/bin/env bash
# Set up what the benchmarks compare with, each in an environment of its own:
#   requirements/peers.sh              .venv-bench-peers: quixstreams, Bytewax, Feast, River, Vowpal
#                                      Wabbit, CapyMOA (which needs Java 17 or newer on the machine)
#                                      and FLAML with its learners (xgboost-cpu is the build of
#                                      XGBoost without 350 MB of CUDA; FLAML allows none from 3 on)
#   requirements/peers.sh ray …        .venv-bench-peers-ray …: model servers and lleaves, which
#                                      need other versions than those and than each other
#   requirements/peers.sh all          all of them
# Does nothing where the lock has not changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
extras=(bentoml litserve lleaves mlserver ray)

set_up() { # NAME of the lock and of the environment
    local lock=requirements/$1.txt venv=.venv-bench-$1 stamp
    [ -f "$lock" ] || {
        echo "set-up: unknown '${1#peers-}'; allowed: all ${extras[*]}, or nothing" >&2
        exit 2
    }
    stamp=$({ pwd -P; cat requirements/peers.sh "$lock"; } | sha256sum | cut -d' ' -f1)
    [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && return
    echo "set-up: installing $lock into $venv (about a minute)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-compile -r "$lock"
    echo "$stamp" >"$venv/.stamp"
}

[ $# -gt 0 ] || set_up peers
for name in "$@"; do
    if [ "$name" = all ]; then
        set_up peers
        for extra in "${extras[@]}"; do set_up "peers-$extra"; done
    else
        set_up "peers-$name"
    fi
done
