#!/bin/sh
# Fills /opt/veriphoto, inside a build: the exact versions of one lock, then this project's wheel.
set -eu
python=/opt/veriphoto/bin/python
"$python" -m pip install --require-hashes --requirement "docker/requirements/$1.txt"
# MLflow's server is not ours and needs nothing of ours.
[ "$1" = mlflow ] || "$python" -m pip install --no-deps /wheels/*.whl
"$python" -m pip check
"$python" -m pip uninstall --yes --quiet pip
