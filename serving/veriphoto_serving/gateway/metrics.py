"""What the gateway counts, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from veriphoto.contract import FORMATS
from veriphoto_client import Detection

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BYTES: Final = (1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7, 2e7)
_MEGAPIXELS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 40.0)


class Metrics:
    """The gateway's metrics. Labels hold names of keys, never keys; nothing of a picture but its size and format."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "veriphoto_gateway_requests", "Requests answered.", ["route", "method", "status", "key"], registry=registry
        )
        self.latency = Histogram(
            "veriphoto_gateway_request_seconds",
            "From headers to answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.inference = Histogram(
            "veriphoto_gateway_inference_seconds", "One picture at Triton.", buckets=_SECONDS, registry=registry
        )
        self.image_bytes = Histogram(
            "veriphoto_gateway_image_bytes", "Size of scored files.", buckets=_BYTES, registry=registry
        )
        self.image_megapixels = Histogram(
            "veriphoto_gateway_image_megapixels", "Pixels of scored pictures.", buckets=_MEGAPIXELS, registry=registry
        )
        self.images = Counter("veriphoto_gateway_images", "Scored pictures by format.", ["format"], registry=registry)
        self.verdicts = Counter(
            "veriphoto_gateway_verdicts",
            "Verdicts by class and version.",
            ["verdict", "model_version"],
            registry=registry,
        )
        self.refusals = Counter(
            "veriphoto_gateway_refusals", "Refused requests and pictures.", ["reason"], registry=registry
        )
        self.shed = Counter("veriphoto_gateway_shed", "Refused because all places were taken.", registry=registry)
        self.probes = Counter(
            "veriphoto_gateway_canary", "Test pictures and revivals by outcome.", ["outcome"], registry=registry
        )
        self.connections = Counter(
            "veriphoto_gateway_connections_ended", "Connections ended by the gateway.", ["reason"], registry=registry
        )
        self.healthy = Gauge("veriphoto_gateway_healthy", "1 while Triton scores pictures.", registry=registry)
        self.in_flight = Gauge("veriphoto_gateway_in_flight", "Pictures at Triton now.", registry=registry)

    def watch(self, healthy: Callable[[], bool], in_flight: Callable[[], int]) -> None:
        """Connects the gauges to what they show."""
        self.healthy.set_function(lambda: float(healthy()))
        self.in_flight.set_function(lambda: float(in_flight()))

    def scored(self, detection: Detection, milliseconds: float) -> None:
        """Counts a scored picture."""
        statistics = detection.statistics
        self.inference.observe(milliseconds / 1000.0)
        self.image_bytes.observe(statistics["bytes"])
        self.image_megapixels.observe(statistics["width"] * statistics["height"] / 1e6)
        self.images.labels(FORMATS[int(statistics["format"])]).inc()
        verdict = detection.verdict
        self.verdicts.labels(verdict.verdict, str(verdict.model_version)).inc()

    def ended(self, reason: str) -> None:
        """Counts a connection that the gateway has ended."""
        self.connections.labels(reason).inc()

    def refused(self, code: str) -> None:
        """Counts a refusal by its stable code."""
        self.refusals.labels(code).inc()
        if code == "overloaded":
            self.shed.inc()
