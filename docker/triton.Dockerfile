# Production Triton with Veriphoto's models: NVIDIA's server and this project's preprocessing in its Python.
#
#   docker build --file docker/triton.Dockerfile --tag veriphoto-triton .
#
# One image for both: on a machine without a GPU it runs ONNX Runtime on the CPU, on one with a GPU either that on the
# GPU or a TensorRT plan, as --model-config-name says. Older releases than 26.06 have known remote vulnerabilities.
ARG TRITON_IMAGE=nvcr.io/nvidia/tritonserver:26.06-py3
ARG PYTHON_IMAGE=docker.io/library/python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY docker/requirements/build.txt docker/requirements/
RUN python3 -m venv /tools \
    && /tools/bin/python -m pip install --require-hashes --requirement docker/requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY client client
COPY serving serving
COPY monitoring monitoring
COPY review review
COPY training training
COPY export export
COPY release release
RUN /tools/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${TRITON_IMAGE} AS triton
# The Python backend's processes take the system's site-packages. Not the torch of any other image: numpy and Pillow.
COPY docker/requirements/triton.txt /tmp/requirements.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    python3 -m pip install --no-cache-dir --break-system-packages --require-hashes --requirement /tmp/requirements.txt \
    && python3 -m pip install --no-cache-dir --break-system-packages --no-deps /wheels/*.whl \
    && rm /tmp/requirements.txt \
    && groupadd --gid 10001 veriphoto \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin veriphoto \
    && install --directory --owner=10001 --group=10001 /var/lib/veriphoto /var/lib/veriphoto/predictions
# Native thread pools of one: a model's instances are the parallelism.
ENV HOME=/tmp VERIPHOTO_PREDICTION_LOG=/var/lib/veriphoto/predictions OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
COPY docker/healthcheck.py /usr/local/bin/healthcheck
COPY docker/triton-entrypoint.sh /usr/local/bin/triton-entrypoint
# A mounted volume takes this place where versions are published without building an image.
COPY --chown=10001:10001 model_repository /models
WORKDIR /var/lib/veriphoto
USER 10001:10001
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:8000/v2/health/ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["triton-entrypoint"]
