#!/bin/sh
# Writes constraints.txt, the one set of versions that everything is installed with, and from it the exact versions,
# with hashes, of each image. Needs uv. Run it after changing pyproject.toml; UPGRADE=1 takes newer versions.
#
#   docker/requirements/lock.sh [uv]
set -eu
cd "$(dirname "$0")/../.."
uv=${1:-uv}
command=docker/requirements/lock.sh

compile() { # OUTPUT ARGUMENT ...
    output=$1
    shift
    "$uv" pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 ${UPGRADE:+--upgrade} \
        --no-emit-package veriphoto --custom-compile-command "$command" --output-file "$output" "$@"
}

lock() { # NAME ARGUMENT ...
    name=$1
    shift
    compile "docker/requirements/$name.txt" --generate-hashes --constraints constraints.txt "$@"
}

# No hashes here: pip would ask for one of the project itself, and torch without CUDA is another file of the same version.
compile constraints.txt --no-annotate --constraints docker/requirements/constraints.in --group dev \
    --extra serving --extra monitor --extra page --extra review --extra ray --extra pipeline --extra data --extra tensorrt --extra tracing \
    pyproject.toml docker/requirements/build.in
# One version of everything, on every Python and machine; pip sees to itself.
sed -i -e 's/ ;.*//' -e '/^pip==/d' constraints.txt
lock build docker/requirements/build.in
lock triton pyproject.toml
# With `review`: the gateway takes feedback, the page has the desk, and both write the same database.
lock gateway --extra gateway --extra review --extra tracing pyproject.toml
lock sidecar --extra monitor pyproject.toml
lock page --extra page --extra review pyproject.toml
lock scanner --extra ray pyproject.toml
lock trainer --extra pipeline pyproject.toml
lock mlflow docker/requirements/mlflow.in
