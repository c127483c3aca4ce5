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

from veriphoto.contract import CLASSIFIER, OPERATING_POINT, OPINIONS
from veriphoto.errors import VeriphotoError
from veriphoto_release.candidate import load_candidate
from veriphoto_release.publish import latest
from veriphoto_release.triton import ADMIN_HEADER, Triton

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

    def load(self) -> str:
        """Returns why not, or nothing."""
        self.loads += 1
        if self.refuse:
            return self.refuse
        try:
            self.serving = load_candidate(self.repository / CLASSIFIER / str(latest(self.repository)), "loaded")
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
            self._answer(200, {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = int(self.headers["Inference-Header-Content-Length"] or 0)
            if self.path.endswith("/load"):
                if self.headers[ADMIN_HEADER] != KEY:
                    self._answer(403, {"error": "this API is restricted"})
                    return
                complaint = owner.load()
                self._answer(400 if complaint else 200, {"error": complaint} if complaint else {})
                return
            point = owner.serving.point.to_tensor()
            probability = owner.serving.probability(body[head + 4 :] if head else body) + owner.offset
            opinions = [0.0, math.log(probability / (1.0 - probability)), point[1], 0.0, -1.0]
            outputs = [{"name": OPINIONS, "data": opinions}, {"name": OPERATING_POINT, "data": point}]
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
