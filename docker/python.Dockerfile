# The images of everything that is Python around Triton. One target each:
#
#   docker build --file docker/python.Dockerfile --target gateway --tag veriphoto-gateway .
#
# Targets: gateway, sidecar, page, mlflow, scanner, trainer. Exact versions with hashes come from docker/requirements/*.txt.
ARG PYTHON_IMAGE=docker.io/library/python:3.12.12-slim-bookworm

# What every part is built with: its environment is made here and copied, so that no image holds pip or a compiler.
FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY docker/requirements/build.txt docker/requirements/
RUN python3 -m venv /tools \
    && /tools/bin/python -m pip install --require-hashes --requirement docker/requirements/build.txt \
    && python3 -m venv /opt/veriphoto
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
COPY docker/requirements/install.sh docker/requirements/

# What every part runs in: an unprivileged user, nothing to write to but what is mounted.
FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 veriphoto \
    && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin veriphoto \
    && install --directory --owner=10001 --group=10001 /var/lib/veriphoto
ENV PATH=/opt/veriphoto/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VERIPHOTO_VAR=/var/lib/veriphoto
COPY docker/healthcheck.py /usr/local/bin/healthcheck
WORKDIR /var/lib/veriphoto
USER 10001:10001

FROM build AS gateway-build
COPY docker/requirements/gateway.txt docker/requirements/
RUN docker/requirements/install.sh gateway

FROM runtime AS gateway
COPY --from=gateway-build /opt/veriphoto /opt/veriphoto
# Beyond this machine the gateway wants API keys; without a file of them it does not start.
ENV VERIPHOTO_GATEWAY_HOST=0.0.0.0
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["veriphoto", "gateway"]

FROM build AS sidecar-build
COPY docker/requirements/sidecar.txt docker/requirements/
RUN docker/requirements/install.sh sidecar

FROM runtime AS sidecar
COPY --from=sidecar-build /opt/veriphoto /opt/veriphoto
ENV VERIPHOTO_MONITOR_HOST=0.0.0.0 VERIPHOTO_PREDICTION_LOG=/var/lib/veriphoto/predictions VERIPHOTO_MODEL_REPOSITORY=/models
# Manifests say what the model was calibrated on; a mounted volume with newer versions takes this place. Whichever image
# fills that volume, this one or Triton's, the trainer must be able to publish into it.
COPY --chown=10001:10001 model_repository /models
EXPOSE 8003
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:8003/health"]
ENTRYPOINT ["veriphoto", "monitor"]

FROM build AS page-build
COPY docker/requirements/page.txt docker/requirements/
RUN docker/requirements/install.sh page

FROM runtime AS page
COPY --from=page-build /opt/veriphoto /opt/veriphoto
ENV VERIPHOTO_PAGE_HOST=0.0.0.0
EXPOSE 8501
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:8501/_stcore/health"]
ENTRYPOINT ["veriphoto", "page"]

FROM build AS mlflow-build
COPY docker/requirements/mlflow.txt docker/requirements/
RUN docker/requirements/install.sh mlflow

FROM runtime AS mlflow
COPY --from=mlflow-build /opt/veriphoto /opt/veriphoto
EXPOSE 5000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["healthcheck", "http://127.0.0.1:5000/health"]
ENTRYPOINT ["mlflow", "server"]
CMD ["--host=0.0.0.0", "--port=5000", "--workers=1", \
    "--backend-store-uri=sqlite:////var/lib/veriphoto/mlflow.db", \
    "--artifacts-destination=/var/lib/veriphoto/artifacts"]

FROM build AS scanner-build
COPY docker/requirements/scanner.txt docker/requirements/
RUN docker/requirements/install.sh scanner

# A node of a Ray cluster, and what starts `veriphoto scan --engine ray` on it. The model travels in the image.
FROM runtime AS scanner
COPY --from=scanner-build /opt/veriphoto /opt/veriphoto
COPY model_repository/classifier /models/classifier
ENV VERIPHOTO_MODEL=/models/classifier
HEALTHCHECK --interval=30s --timeout=20s CMD ["veriphoto", "--help"]
CMD ["veriphoto", "scan", "--help"]

FROM build AS trainer-build
COPY docker/requirements/trainer.txt docker/requirements/
RUN docker/requirements/install.sh trainer

# A job, not a service: it has no port and ends by itself, so there is nothing to ask after its health but that it runs.
FROM runtime AS trainer
COPY --from=trainer-build /opt/veriphoto /opt/veriphoto
COPY samples /usr/share/veriphoto/samples
# MLflow looks for a git, which no image holds, and would say so at length.
ENV VERIPHOTO_SAMPLES=/usr/share/veriphoto/samples GIT_PYTHON_REFRESH=quiet
HEALTHCHECK --interval=30s --timeout=20s CMD ["veriphoto", "--help"]
ENTRYPOINT ["veriphoto"]
CMD ["train", "--help"]
