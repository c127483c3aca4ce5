"""The settings of ``veriphoto monitor``, ``drift`` and ``canary``. Options and environment variables come from them."""

# ruff: noqa: RUF009 - option and port return a dataclass field
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult

from veriphoto.contract import SIDECAR_PORT, TRITON_HTTP_PORT, TRITON_METRICS_PORT
from veriphoto.errors import UsageError
from veriphoto.prediction_log.recorder import LOG_VARIABLE
from veriphoto_client.addresses import split_address
from veriphoto_client.commandline.options import option, port

LEVEL: Final = 0.01
"""Probability that a run of the canaries gives a false alarm."""


def http_address(url: str) -> SplitResult:
    """Splits the address of a page that this package reads.

    Args:
        url: ``http://host:port``, with or without a path.

    Raises:
        UsageError: If it has another form.
    """
    parts = split_address(url, "http")
    if parts is None:
        raise UsageError(f"{url} is not an address of the form http://host:port")
    return parts


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folders:
    var: Path = option(Path("var"), "Directory for everything written at run time.")


@dataclass(frozen=True, kw_only=True, slots=True)
class _PredictionLog(_Folders):
    log: Path | None = option(
        None, "Directory of the prediction log; predictions in --var by default.", variable=LOG_VARIABLE
    )

    @property
    def predictions(self) -> Path:
        """``log`` with its default resolved."""
        return self.log or self.var / "predictions"


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorSettings(_PredictionLog):
    """The settings of ``veriphoto monitor``."""

    model_repository: Path = option(Path("model_repository"), "Directory of the models, for their manifests.")
    triton_metrics: str = option(
        f"http://127.0.0.1:{TRITON_METRICS_PORT}/metrics", "Metrics URLs of the servers, separated by commas."
    )
    images_per_day: float = option(10_000.0, "Expected traffic; the thresholds depend on it.", least=1.0)
    false_alarms: float = option(0.01, "Share of days without drift that may have a false alarm.", least=1e-6, most=0.5)
    host: str = option("127.0.0.1", "Address to listen on.", variable="VERIPHOTO_MONITOR_HOST")
    port: int = port(SIDECAR_PORT, "Port to listen on", variable="VERIPHOTO_MONITOR_PORT")

    def __post_init__(self) -> None:
        """Rejects addresses that could never be read.

        Raises:
            UsageError: Naming the address.
        """
        for url in self.tritons:
            http_address(url)

    @property
    def tritons(self) -> tuple[str, ...]:
        """``triton_metrics`` as a list."""
        return tuple(url.strip() for url in self.triton_metrics.split(",") if url.strip())


@dataclass(frozen=True, kw_only=True, slots=True)
class DriftSettings:
    """The settings of ``veriphoto drift``."""

    url: str = option(
        f"http://127.0.0.1:{SIDECAR_PORT}", "Address of the drift monitor.", variable="VERIPHOTO_MONITOR_URL"
    )
    report: Path | None = option(None, "Also write an HTML report with plots to this file.", variable=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineSettings(_PredictionLog):
    """The settings of ``veriphoto drift baseline``: the period of the prediction log that becomes the reference."""

    last: int = option(20_000, "Number of newest photos to use.", least=2000, most=200_000, variable=False)
    since: str | None = option(None, "Ignore older photos: 2026-11-20 or 2026-11-20T08:00.", variable=False)
    until: str | None = option(None, "Ignore newer photos.", variable=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class CanarySettings(_Folders):
    """The settings of ``veriphoto canary``."""

    reference: Path | None = option(
        None,
        "Results to compare with; canary_reference.json in --var by default.",
        variable="VERIPHOTO_CANARY_REFERENCE",
    )
    write_reference: bool = option(
        False, "Make this run the reference instead of testing it.", flag=True, variable=False
    )
    level: float = option(
        LEVEL,
        "Probability of a false alarm in one run, over all groups.",
        least=1e-9,
        most=0.5,
        variable="VERIPHOTO_CANARY_LEVEL",
    )
    every: float = option(0.0, "Minutes between runs; 0 runs once.", least=0.0, variable="VERIPHOTO_CANARY_EVERY")
    textfile: Path | None = option(
        None,
        "Also write metrics to NAME.prom for node exporter's textfile collector.",
        variable="VERIPHOTO_CANARY_TEXTFILE",
    )
    url: str = option(
        f"http://127.0.0.1:{TRITON_HTTP_PORT}",
        "Triton's address: http://host:port or grpc://host:port.",
        variable="VERIPHOTO_TRITON_URL",  # VERIPHOTO_URL may lead to the gateway
    )
    in_flight: int = option(
        4,
        "Requests in flight at a time; keep it low to leave capacity for users.",
        least=1,
        variable="VERIPHOTO_CANARY_IN_FLIGHT",
    )
