#!/bin/sh
# Writes the exact versions, with hashes, that the images install. Needs uv. Run it after changing pyproject.toml.
#
#   docker/requirements/lock.sh [uv]
set -eu
cd "$(dirname "$0")/../.."
uv=${1:-uv}

lock() { # NAME [--extra NAME ...]
    name=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-package veriphoto \
        --constraints docker/requirements/constraints.in \
        --custom-compile-command docker/requirements/lock.sh --output-file "docker/requirements/$name.txt" "$@" pyproject.toml
}

# The wheel's own tools come from a list of their own.
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --custom-compile-command docker/requirements/lock.sh \
    --output-file docker/requirements/build.txt docker/requirements/build.in
lock triton
lock gateway --extra gateway
lock sidecar --extra monitor
lock page --extra page
lock scanner --extra ray
lock trainer --extra pipeline
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --constraints docker/requirements/trainer.txt --custom-compile-command docker/requirements/lock.sh \
    --output-file docker/requirements/mlflow.txt docker/requirements/mlflow.in
