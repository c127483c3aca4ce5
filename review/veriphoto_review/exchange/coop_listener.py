"""Listens for Coop's callbacks. Coop repeats what is answered with 5xx, and drops what is answered with 4xx."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from veriphoto.errors import DatabaseError, UsageError
from veriphoto_review.exchange.coop import signed_by, take_callback
from veriphoto_review.intake.feedback import FeedbackDesk

_MOST_BYTES: Final = 1_000_000
"""A callback carries the reports about its item."""
_MOST_DIGITS: Final = 19
"""Of a length; Python refuses to read numbers of some thousand digits."""
_PATIENCE_S: Final = 10.0


class CoopListener(ThreadingHTTPServer):
    """Takes signed callbacks by POST, at any path."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], desk: FeedbackDesk, public_key: Path) -> None:
        """Binds its port.

        Args:
            address: Host and port.
            desk: Takes the decisions.
            public_key: Coop's verification key; read at each request, so that it can be changed.

        Raises:
            UsageError: If the key cannot be read or the port not be had.
        """
        self.desk: Final = desk
        self.public_key: Final = public_key
        self.key()
        try:
            super().__init__(address, _Handler)
        except OSError as error:
            raise UsageError(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}; use another") from error

    def key(self) -> bytes:
        """Reads the key.

        Raises:
            UsageError: If it cannot be read, or is no key.
        """
        try:
            found = self.public_key.read_bytes()
        except OSError as error:
            raise UsageError(f"{self.public_key} cannot be read: {error.strerror}") from error
        signed_by(found, b"", "")
        return found


class _Handler(BaseHTTPRequestHandler):
    server: CoopListener
    timeout = _PATIENCE_S

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or len(length) > _MOST_DIGITS or int(length) > _MOST_BYTES:
            self._answer(413 if length.isdecimal() else 411, error="a Content-Length of at most 1 MB is needed")
            return
        body = self.rfile.read(int(length))
        try:
            signed = signed_by(self.server.key(), body, self.headers.get("Coop-Signature", ""))
        except UsageError as error:  # our fault, not the caller's: Coop must send it again
            self._answer(503, error=error.message)
            return
        if not signed:
            self._answer(401, error="the signature is missing or not Coop's")
            return
        try:
            receipt = take_callback(self.server.desk, body)
        except UsageError as error:
            self._answer(400, error=error.message)
        except DatabaseError as error:
            self._answer(503, error=error.message)
        else:
            self._answer(200, status=receipt.status if receipt else "ignored", cases=receipt.cases if receipt else 0)

    def _answer(self, code: int, /, **content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Keeps references out of the terminal."""
