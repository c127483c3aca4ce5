"""A server over HTTP that loads and scores as Triton does, from the same repository, without its seconds of start."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from veriphoto.contract import CLASSIFIER, LOGIT, OPERATING_POINT, OPINIONS, PROBABILITY
from veriphoto.errors import VeriphotoError
from veriphoto.shared_names import ADMIN_HEADER
from veriphoto_client import FakeTransport
from veriphoto_client.triton.transport import OUTPUT_SHAPES
from veriphoto_release.candidate import load_candidate
from veriphoto_release.publish import latest
from veriphoto_release.triton import Triton

KEY = "a key for tests"


class RepositoryServer:
    """What is loaded stays loaded, whatever happens to the repository, until the next load."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.serving: Any = None
        self.loads = 0
        self.refuse = ""
        """If set, what a load is refused with."""
        self.offset = 0.0
        """Added to every probability: a server that scores wrong."""
        self.url = ""

    @property
    def triton(self) -> Triton:
        return Triton(http_url=self.url, admin_key=KEY)

    @property
    def version(self) -> int | None:
        """The version whose answers clients get."""
        return None if self.serving is None else self.serving.point.model_version

    def load(self, version: int | None = None) -> str:
        """Loads a version, by default the newest; returns why not, or nothing."""
        self.loads += 1
        if self.refuse:
            return self.refuse
        try:
            number = version or latest(self.repository)
            self.serving = load_candidate(self.repository / CLASSIFIER / str(number), "loaded")
        except VeriphotoError as error:
            return error.to_wire()
        return ""

    @contextmanager
    def run(self) -> Iterator[RepositoryServer]:
        if latest(self.repository) is not None:
            self.load()
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


def _handler(owner: RepositoryServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, {"versions": [str(owner.version)] if owner.version else []})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = int(self.headers["Inference-Header-Content-Length"] or 0)
            if self.path.endswith("/load"):
                if self.headers[ADMIN_HEADER] != KEY:
                    self._answer(403, {"error": "this API is restricted"})
                    return
                config = json.loads(json.loads(body).get("parameters", {}).get("config", "{}"))
                complaint = owner.load(*config.get("version_policy", {}).get("specific", {}).get("versions", ()))
                self._answer(400 if complaint else 200, {"error": complaint} if complaint else {})
                return
            picture = body[head + 4 :] if head else body
            point = owner.serving.point.to_tensor()
            probability = owner.serving.probability(picture) + owner.offset
            logit = math.log(probability / (1.0 - probability))
            values = {
                **{name: tensor.ravel().tolist() for name, tensor in FakeTransport.answer(picture).items()},
                PROBABILITY: [probability],
                LOGIT: [logit],
                OPERATING_POINT: point,
                OPINIONS: [0.0, logit, point[1], 0.0, -1.0],
            }
            outputs = [
                {"name": name, "datatype": "FP32", "shape": [1, *OUTPUT_SHAPES[name]], "data": list(data)}
                for name, data in values.items()
            ]
            self._answer(200, {"outputs": outputs})

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
