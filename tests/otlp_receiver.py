"""A collector for OpenTelemetry's spans: OTLP over HTTP, as a process would send it anywhere else."""

from __future__ import annotations

import base64
import gzip
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """One span."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    status: int
    attributes: dict[str, Any]


@dataclass
class Receiver:
    """What has arrived."""

    endpoint: str = ""
    spans: list[Seen] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    def wait(self, service: str, count: int, seconds: float = 60.0) -> list[Seen]:
        """Returns the spans of a service once there are so many."""
        deadline = time.monotonic() + seconds
        while len(found := [each for each in list(self.spans) if each.service == service]) < count:
            assert time.monotonic() < deadline, self.spans
            time.sleep(0.05)
        return found

    def take(self, body: bytes, kind: str) -> None:
        self.raw.append(body)
        if kind == "application/json":  # as Triton sends them; ids are hexadecimal there, bytes are base64 in JSON
            text = re.sub(rb'"(traceId|spanId|parentSpanId)":"([0-9a-fA-F]*)"', _in_base64, body)
            sent = json_format.Parse(text, ExportTraceServiceRequest(), ignore_unknown_fields=True)
        else:
            sent = ExportTraceServiceRequest.FromString(body)
        for group in sent.resource_spans:
            names = [each.value.string_value for each in group.resource.attributes if each.key == "service.name"]
            for scope in group.scope_spans:
                for span in scope.spans:
                    attributes = {
                        each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes
                    }
                    ids = (each.hex() for each in (span.trace_id, span.span_id, span.parent_span_id))
                    self.spans.append(Seen(names[0], span.name, *ids, span.status.code, attributes))


def _in_base64(found: re.Match[bytes]) -> bytes:
    return b'"%s":"%s"' % (found[1], base64.b64encode(bytes.fromhex(found[2].decode())))


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listens on a free port for the duration of a block."""
    seen = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                plain = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
                seen.take(plain, self.headers.get_content_type())
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        seen.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()
