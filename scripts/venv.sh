#!/usr/bin/env bash
# Makes (once) a virtual environment in the cache with the packages of a requirements file; prints its python.
# usage: venv.sh PYTHON REQUIREMENTS
set -euo pipefail
. "$(dirname "$0")/lib.sh"
python=$1 requirements=$2
key=$( (echo "$python"; cat "$requirements") | sha256sum | cut -c1-10)
venv="$CACHE/venv/$(basename "$requirements" .txt)-$key"
if [ ! -e "$venv/.complete" ]; then
    rm -rf "$venv"
    with_progress "making the environment of $(basename "$requirements")" "$CACHE/log/venv-$key.log" \
        bash -c "'$python' -m venv '$venv' && '$venv/bin/python' -m pip install --disable-pip-version-check -q -r '$requirements'"
    touch "$venv/.complete"
fi
echo "$venv/bin/python"
