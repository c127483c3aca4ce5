#!/bin/sh
# Builds model.plan for Triton's TensorRT backend, with the TensorRT of the very Triton container that will run it and on
# the GPU that will run it: a plan fits no other version and no other kind of GPU.
#
#   docker/build-plan.sh model_repository/classifier/3            (fp16)
#   docker/build-plan.sh model_repository/classifier/3 --precision fp32
#
# TRITON_IMAGE chooses the container; production needs release 26.06 or later (see docs/architecture.md, Security).
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 model_repository/classifier/N [--precision fp16|fp32]" >&2
    exit 2
fi

version=$(cd "$1" && pwd)
shift
root=$(cd "$(dirname "$0")/.." && pwd)
image=${TRITON_IMAGE:-nvcr.io/nvidia/tritonserver:26.06-py3}

# The container's own TensorRT libraries; only their Python binding (1 MB) is installed, of that very version and CUDA.
exec docker run --rm --gpus all --ulimit stack=67108864 \
    --volume "$root:/veriphoto:ro" --volume "$version:/version" \
    "$image" sh -euc '
        installed=$(dpkg-query --show --showformat="\${Version}\n" "libnvinfer[0-9]*" | head -n 1)
        release=${installed%%-*}
        cuda=${installed##*+cuda}
        python3 -m pip install --quiet --no-cache-dir --no-deps "tensorrt_cu${cuda%%.*}_bindings==$release"
        python3 -m pip install --quiet --no-cache-dir "numpy<2" pillow onnx onnxruntime
        # The module checks that a directory is named as its version is numbered.
        number=$(python3 -c "import json; print(json.load(open(\"/version/manifest.json\"))[\"model_version\"])")
        ln -s /version "/tmp/$number"
        PYTHONPATH=/veriphoto/core:/veriphoto/export exec python3 -m veriphoto_export.tensorrt_plan "/tmp/$number" "$@"
    ' build-plan "$@"
