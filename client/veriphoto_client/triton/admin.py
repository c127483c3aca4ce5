"""Triton's administration over HTTP: what is loaded and ready, and loading and unloading models.

Calls block, and each opens a connection of its own: they come from commands and watchdog threads, seconds apart, and
must not depend on an event loop or on a connection that a restarted server has closed. The standard library does for
that, so that a launcher which waits for its server need not import an HTTP library first.
"""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from veriphoto.environment import Variable
from veriphoto.errors import ModelError, ServiceError, ServiceUnavailableError, UsageError
from veriphoto.foreign_json import parse
from veriphoto.shared_names import ADMIN_HEADER

LOAD_TIMEOUT: Final = 120.0
"""Seconds that a model may take to load."""
_ERROR_LENGTH: Final = 200
_Said = TypeVar("_Said")


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonAdmin:
    """The administrative side of one Triton server. Threads may share it.

    Every method raises ``ServiceUnavailableError`` if the server does not answer, ``UsageError`` if it refuses the key,
    and ``ServiceError`` if it answers with any other error.
    """

    address: str
    """``host:port`` of Triton's HTTP."""
    key: str = field(default="", repr=False)
    """Unlocks all but readiness and metadata on a server that ``veriphoto serve`` has started."""
    timeout: float = 30.0
    """Seconds for one call, except loading."""

    def ready(self, model: str = "") -> bool:
        """Tells whether a model is ready, or without a name the server and all its models.

        A server that swaps versions is not ready for seconds, while the old version unloads; its models are.
        """
        path = f"/v2/models/{model}/ready" if model else "/v2/health/ready"
        return self._request("GET", path)[0] == http.client.OK

    def metadata(self, model: str = "") -> dict[str, Any]:
        """Returns name, versions, inputs and outputs of a model, or without a name what the server is."""
        return self._ask(dict, "GET", f"/v2/models/{model}" if model else "/v2")

    def config(self, model: str) -> dict[str, Any]:
        """Returns a model's configuration, as ``load`` takes it."""
        return self._ask(dict, "GET", f"/v2/models/{model}/config")

    def statistics(self, model: str) -> list[dict[str, Any]]:
        """Returns counts and durations of the requests to each loaded version of a model."""
        found: list[dict[str, Any]] = self._ask(dict, "GET", f"/v2/models/{model}/stats").get("model_stats", [])
        return found

    def index(self) -> list[dict[str, Any]]:
        """Returns the models of the repository with version, state, and the reason where one is not loaded."""
        return self._ask(list, "POST", "/v2/repository/index", {})

    def load(self, model: str, config: dict[str, Any] | None = None, *, timeout: float = LOAD_TIMEOUT) -> None:
        """Loads a model, or loads it again with what the repository now holds, and returns once it serves.

        Args:
            model: Name of the model.
            config: A configuration to use instead of the repository's.
            timeout: Seconds to wait.

        Raises:
            ModelError: If Triton refuses the model; a version that was loaded before keeps serving.
        """
        body = {} if config is None else {"parameters": {"config": json.dumps(config)}}
        status, said = self._request("POST", f"/v2/repository/models/{model}/load", body, timeout)
        if status != http.client.OK:
            raise ModelError(f"Triton at {self.address} does not load the version: {_reason(said)}")

    def unload(self, model: str) -> None:
        """Unloads a model, without waiting for its requests in flight."""
        self._done("POST", f"/v2/repository/models/{model}/unload", {})

    def _ask(self, kind: type[_Said], method: str, path: str, body: dict[str, Any] | None = None) -> _Said:
        try:
            found = parse(self._done(method, path, body))
        except ValueError:
            found = None
        if not isinstance(found, kind):
            raise ServiceError(f"what answers at {self.address} is not Triton; check the address")
        return found

    def _done(self, method: str, path: str, body: dict[str, Any] | None = None) -> bytes:
        status, said = self._request(method, path, body)
        if status != http.client.OK:
            raise ServiceError(f"Triton at {self.address} answers {path} with {status}: {_reason(said)}")
        return said

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None, timeout: float | None = None
    ) -> tuple[int, bytes]:
        headers = {ADMIN_HEADER: self.key, "Content-Type": "application/json"}
        try:
            with closing(http.client.HTTPConnection(self.address, timeout=timeout or self.timeout)) as connection:
                connection.request(method, path, None if body is None else json.dumps(body), headers)
                answer = connection.getresponse()
                status, said = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailableError(
                f"Triton at {self.address} is away: {error or type(error).__name__}; start it with: veriphoto serve"
            ) from error
        if status == http.client.FORBIDDEN:
            raise UsageError(
                f"Triton at {self.address} refuses the admin key; set {Variable.TRITON_ADMIN_KEY} to its own"
            )
        return status, said


def _reason(body: bytes) -> str:
    try:
        return str(parse(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:_ERROR_LENGTH].decode(errors="replace") or "no reason given"
