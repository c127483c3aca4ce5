"""The options of a Triton, and the command line made of them."""

# ruff: noqa: RUF009 - option and port return a dataclass field
from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from veriphoto.contract import ENCODER, ENSEMBLE, TRITON_GRPC_PORT, TRITON_HTTP_PORT, TRITON_METRICS_PORT
from veriphoto.manifest import PLAN_FILE
from veriphoto.prediction_log.recorder import LOG_VARIABLE, SIZE_VARIABLE
from veriphoto.prediction_log.segments import DEFAULT_MEGABYTES
from veriphoto.second_opinion import ENCODER_FILE, MODE_VARIABLE, Mode
from veriphoto.shared_names import ADMIN_HEADER, TRITON_FOLDER
from veriphoto_client.commandline.options import option, port
from veriphoto_serving.triton.installation import Installation
from veriphoto_serving.triton.ports import LOOPBACK, free_ports, obstacle
from veriphoto_serving.triton.shared_memory import PREFIX

RESTRICTED: Final = ("shared-memory", "model-repository", "model-config", "statistics", "trace", "logging")
"""APIs that clients of Veriphoto do not need. Health, metadata and inference stay open; metrics have their own port."""

_PANEL: Final = "Triton"
_LOG_PANEL: Final = "Prediction log"

MODELS_LINK: Final = "models"
BACKENDS_DIRECTORY: Final = "backends"


class Flavour(StrEnum):
    """How the classifier runs: one of its configurations in the model repository."""

    ONNXRUNTIME = "onnxruntime"
    """``config.pbtxt``: Triton's own ONNX Runtime backend, the production default."""
    EMBEDDED = "embedded"
    """``configs/embedded.pbtxt``: ONNX Runtime inside the Python backend, all that the wheel's server can run."""
    TENSORRT = "tensorrt"
    """``configs/tensorrt.pbtxt``: a TensorRT plan."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonOptions:
    """How to start one Triton. The fields declared by ``option`` and ``port`` are options of ``veriphoto serve``.

    Attributes:
        traces_url: URL of the OTLP collector that gets Triton's spans; empty if nothing is traced.
        start_timeout_s: How long loading the models may take.
        exit_timeout_s: How long requests in flight may take to finish when the server stops.
        admin_key: Unlocks the restricted APIs. Never printed.
        region_prefix: Prefix of this server's shared-memory regions, which tells them from those of any other server.
    """

    model_repository: Path = option(Path("model_repository"), "Directory of the models.")
    var: Path = option(Path("var"), "Directory for everything written at run time.")
    http_port: int = port(TRITON_HTTP_PORT, "Triton's HTTP port", panel=_PANEL)
    grpc_port: int = port(TRITON_GRPC_PORT, "Triton's gRPC port", panel=_PANEL)
    metrics_port: int = port(TRITON_METRICS_PORT, "Triton's metrics port", panel=_PANEL)
    flavour: Flavour | None = option(
        None, "How the classifier runs; by default whatever the installed server supports.", panel=_PANEL
    )
    second_opinion: Mode = option(
        Mode.AUTO,
        "When to ask the second opinion: if the classifier cannot rule a photo out (auto), always, or never (off).",
        panel=_PANEL,
    )
    prediction_log: str | None = option(
        None, "Directory of the prediction log; by default predictions in --var, '' for no log.", panel=_LOG_PANEL
    )
    prediction_log_mb: float = option(
        DEFAULT_MEGABYTES, "Maximum size of the prediction log in megabytes.", panel=_LOG_PANEL, least=1
    )
    traces_url: str = ""
    start_timeout_s: float = 60.0
    exit_timeout_s: int = 10
    admin_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    region_prefix: str = field(default_factory=lambda: f"{PREFIX}veriphoto_{secrets.token_hex(6)}_")

    @property
    def ports(self) -> tuple[int, int, int]:
        """The ports of HTTP, gRPC and metrics."""
        return self.http_port, self.grpc_port, self.metrics_port

    @property
    def runtime(self) -> Path:
        """Working directory of the server: its log, its backends and a link to the repository.

        Named by port, so that a second server in the same ``var`` never changes what a running one sees.
        """
        return self.var.absolute() / TRITON_FOLDER / str(self.http_port)

    @property
    def log(self) -> Path:
        """The file the server writes its log to."""
        return self.runtime / "triton.log"

    @property
    def predictions(self) -> Path | None:
        """Directory of the prediction log; None where there is none."""
        if self.prediction_log is None:
            return self.var.absolute() / "predictions"
        return Path(self.prediction_log).absolute() if self.prediction_log else None

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for the models, which cannot be configured in any other way."""
        return {
            LOG_VARIABLE: str(self.predictions or ""),
            SIZE_VARIABLE: f"{self.prediction_log_mb:g}",
            MODE_VARIABLE: self.second_opinion.value,
        }

    @property
    def asks(self) -> bool:
        """Whether somebody may be asked for a second opinion: not in mode ``off``, nor in ``auto`` with no encoder."""
        encoder = self.model_repository / ENCODER / "1" / ENCODER_FILE
        return self.second_opinion is Mode.ALWAYS or (self.second_opinion is Mode.AUTO and encoder.exists())

    @property
    def models(self) -> tuple[str, ...]:
        """The models that Triton is told to load; the ensemble brings its steps along.

        The encoder is a model of its own except in the embedded flavour, where the step that asks it runs it. All of a
        repository that is not Veriphoto's.
        """
        if self.model_repository.is_dir() and not (self.model_repository / ENSEMBLE).is_dir():
            return ("*",)
        needed = PLAN_FILE if self.flavour is Flavour.TENSORRT else ENCODER_FILE
        place = self.model_repository / ENCODER / "1" / needed
        served = self.flavour is not Flavour.EMBEDDED and self.asks and place.is_file()
        return (ENSEMBLE, ENCODER) if served else (ENSEMBLE,)

    def resolve(self, installation: Installation) -> TritonOptions:
        """Fills in what was left open.

        Args:
            installation: The server that will run.

        Returns:
            The same options with a flavour and without port 0.
        """
        flavour = self.flavour or (Flavour.EMBEDDED if installation.wheel else Flavour.ONNXRUNTIME)
        spare = iter(free_ports(self.ports.count(0), avoid=self.ports))
        http, grpc, metrics = (one or next(spare) for one in self.ports)
        return replace(self, flavour=flavour, http_port=http, grpc_port=grpc, metrics_port=metrics)

    def on_free_ports(self) -> TritonOptions:
        """Returns a copy with port 0 for each usual port that is taken; one that was chosen stays."""
        usual = (TRITON_HTTP_PORT, TRITON_GRPC_PORT, TRITON_METRICS_PORT)
        http, grpc, metrics = (
            0 if port == default and obstacle(port) else port for port, default in zip(self.ports, usual, strict=True)
        )
        return replace(self, http_port=http, grpc_port=grpc, metrics_port=metrics)

    def argv(self, installation: Installation) -> list[str]:
        """Returns the command line; the server must be started in ``runtime``.

        Paths are relative to it, because Triton starts its stubs through a shell, unquoted: a space in a real path
        would break them, and worse could hide in one. Models are under explicit control, because publishing a version
        and reviving a dead stub both need the load API; that API, like everything in ``RESTRICTED``, is closed without
        ``admin_key``. Triton takes the key from its command line only, which local users can read: see
        ``launcher.hide_argument``.

        Args:
            installation: The server that will run.
        """
        restricted = f"{','.join(RESTRICTED)}:{ADMIN_HEADER}={self.admin_key}"
        argv = [
            str(installation.binary),
            f"--model-repository={MODELS_LINK}",
            "--model-control-mode=explicit",
            *(f"--load-model={name}" for name in self.models),
            "--disable-auto-complete-config",
            "--strict-readiness=true",
            "--exit-on-error=true",
            f"--exit-timeout-secs={self.exit_timeout_s}",
            f"--http-address={LOOPBACK}",
            f"--http-port={self.http_port}",
            f"--grpc-address={LOOPBACK}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={LOOPBACK}",
            f"--metrics-port={self.metrics_port}",
            "--metrics-config=summary_latencies=true",  # quantiles of the latency, which are off by default
            "--allow-sagemaker=false",
            "--allow-vertex-ai=false",
            f"--http-restricted-api={restricted}",
            f"--grpc-restricted-protocol={restricted}",
            f"--backend-config=python,shm-region-prefix-name={self.region_prefix}",
            "--log-format=ISO8601",
        ]
        if self.traces_url:
            # Rate 0: Triton begins no trace of its own, it only joins those of its callers.
            trace = ("mode=opentelemetry", "rate=0", "level=TIMESTAMPS", f"opentelemetry,url={self.traces_url}")
            argv += [f"--trace-config={setting}" for setting in trace]
            argv.append("--trace-config=opentelemetry,resource=service.name=veriphoto-triton")
        if installation.wheel:
            argv.append(f"--backend-directory={BACKENDS_DIRECTORY}")
            # The wheel's server has no GPU backend; looking for GPUs would only cost time and log noise.
            argv += ["--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0"]
        if self.flavour not in (None, Flavour.ONNXRUNTIME):
            argv.append(f"--model-config-name={self.flavour.value}")
        return argv
