"""Traces of requests for an OpenTelemetry collector. Without an endpoint nothing is imported and nothing is done."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from veriphoto import __version__
from veriphoto.errors import MissingExtraError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

ENDPOINT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_NAME_VARIABLE: Final = "OTEL_SERVICE_NAME"
_CONTEXT: Final = ("traceparent", "tracestate")  # not baggage, which could hold anything
_OFF: Final[AbstractContextManager[None]] = contextlib.nullcontext()

_tracer: Tracer | None = None


def traces_url() -> str:
    """Returns where spans are sent over OTLP/HTTP; empty where nothing is traced.

    Raises:
        MissingExtraError: If an endpoint is set and the extra ``tracing`` is not installed.
    """
    endpoint = os.environ.get(ENDPOINT_VARIABLE, "").rstrip("/")
    if not endpoint:
        return ""
    for package in ("opentelemetry", "opentelemetry.exporter.otlp.proto.http"):
        try:
            found = importlib.util.find_spec(package)
        except ImportError:
            found = None
        if found is None:
            raise MissingExtraError("tracing", package)
    return f"{endpoint}/v1/traces"


@contextlib.contextmanager
def exporting(service: str) -> Iterator[None]:
    """Exports the spans of this process for the duration of a block, if ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set.

    Args:
        service: Name of the service, unless ``OTEL_SERVICE_NAME`` gives another. OpenTelemetry's other variables
            (sampler, headers, limits) apply as well.

    Raises:
        MissingExtraError: If the extra ``tracing`` is not installed.
    """
    global _tracer  # noqa: PLW0603 - one for each process, like OpenTelemetry's own
    if not traces_url():
        yield
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    named = os.environ.get(_NAME_VARIABLE) or service
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: named, SERVICE_VERSION: __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("veriphoto", __version__)
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


def server_span(headers: Mapping[bytes, bytes]) -> AbstractContextManager[Span | None]:
    """Opens the span of a request that another process has sent; it joins the caller's trace if there is one.

    Args:
        headers: The request's headers, with names in lower case.
    """
    if _tracer is None:
        return _OFF
    from opentelemetry.trace import SpanKind  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    given = {name: headers.get(name.encode(), b"").decode("latin-1") for name in _CONTEXT}
    parent = TraceContextTextMapPropagator().extract(given)
    # An exception's text and stack could show what a caller sent.
    return _tracer.start_as_current_span(
        "request", parent, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    )


def client_span(name: str) -> AbstractContextManager[Span | None]:
    """Opens the span of a request to another service.

    Args:
        name: What is asked for.
    """
    if _tracer is None:
        return _OFF
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    return _tracer.start_as_current_span(
        name, kind=SpanKind.CLIENT, record_exception=False, set_status_on_exception=False
    )


def outgoing_headers() -> dict[str, str]:
    """Returns the headers with which another service joins the current trace; none where nothing is traced."""
    headers: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace import get_current_span  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        if get_current_span().get_span_context().trace_flags.sampled:  # Triton would trace the others as well
            TraceContextTextMapPropagator().inject(headers)
    return headers


def describe(span: Span | None, name: str, attributes: Mapping[str, str | int], *, failed: bool) -> None:
    """Says what a span was about.

    Args:
        span: The span, or None where nothing is traced.
        name: Its name.
        attributes: What is known about it.
        failed: Whether the service failed.
    """
    if span is None:
        return
    from opentelemetry.trace import StatusCode  # noqa: PLC0415

    span.update_name(name)
    span.set_attributes(attributes)
    if failed:
        span.set_status(StatusCode.ERROR)
