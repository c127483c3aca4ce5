"""The running Triton, as promotion needs it: load a model, and score a picture as any client would.

Where it is and the key to its model API come, in this order, from options, from ``VERIPHOTO_TRITON_HTTP`` and
``VERIPHOTO_TRITON_ADMIN_KEY`` (a Triton in a container gets its key from a secret), or from the file ``server.json``
that the launcher of ``veriphoto serve`` keeps in its runtime directory, readable for its user alone.
"""

from __future__ import annotations

import http.client
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from veriphoto.contract import CLASSIFIER, ENSEMBLE, IMAGE, OPERATING_POINT, OPINION_VALUES, OPINIONS
from veriphoto.errors import ModelError, ServiceUnavailableError, UsageError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto.second_opinion import sigmoid
from veriphoto.shared_names import ADMIN_HEADER, SERVER_FILE, TRITON_FOLDER

URL_VARIABLE: Final = "VERIPHOTO_TRITON_HTTP"
KEY_VARIABLE: Final = "VERIPHOTO_TRITON_ADMIN_KEY"

GOLDEN_ID: Final = f"{PROBE_PREFIX}golden"
"""Names golden pictures in the prediction log."""

_PREFIX: Final = 4  # bytes that hold the length of a BYTES element
_LOAD_S: Final = 120.0
_ASK_S: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One golden answer."""

    version: int
    probability: float
    """By the classifier alone: what is promoted is a classifier."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Triton:
    """A server's address and key."""

    http_url: str
    """``host:port``."""
    admin_key: str = field(default="", repr=False)

    def require_ready(self) -> None:
        """Checks that it serves.

        Raises:
            ServiceUnavailableError: If it does not.
        """
        # Not the server's own readiness: that fails for seconds after each swap, while the old version unloads.
        status, _, _ = self._request("GET", f"/v2/models/{ENSEMBLE}/ready", b"", {}, _ASK_S)
        if status != http.client.OK:
            raise ServiceUnavailableError(f"Triton at {self.http_url} is not ready (status {status}); see its log")

    def load_classifier(self) -> None:
        """Has it serve what the repository now holds.

        Raises:
            ServiceUnavailableError: If it is away.
            UsageError: If the key is not its own.
            ModelError: If it refuses the version; the previous one keeps serving.
        """
        headers = {ADMIN_HEADER: self.admin_key, "Content-Type": "application/json"}
        path = f"/v2/repository/models/{CLASSIFIER}/load"
        status, body, _ = self._request("POST", path, b"{}", headers, _LOAD_S)
        if status == http.client.FORBIDDEN:
            raise UsageError(f"Triton at {self.http_url} refuses the admin key; set {KEY_VARIABLE} to its own")
        if status != http.client.OK:
            raise ModelError(f"Triton at {self.http_url} does not load the version: {_complaint(body)}")

    def score(self, picture: bytes) -> Answer:
        """Scores one picture through the ensemble.

        Args:
            picture: An encoded file.

        Raises:
            ServiceUnavailableError: If there is no answer.
        """
        head = _question(len(picture))
        # Never without the content type: form data of 4 MB crash old servers.
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        request = head + len(picture).to_bytes(_PREFIX, "little") + picture
        status, body, found = self._request("POST", f"/v2/models/{ENSEMBLE}/infer", request, headers, _ASK_S)
        if status != http.client.OK:
            raise ServiceUnavailableError(f"Triton at {self.http_url} does not score: {_complaint(body)}")
        outputs = _outputs(body, int(found.get("Inference-Header-Content-Length") or len(body)))
        first = float(outputs[OPINIONS][OPINION_VALUES.index("first_logit")])
        return Answer(version=int(outputs[OPERATING_POINT][0]), probability=sigmoid(first))

    def _request(
        self, method: str, path: str, body: bytes, headers: dict[str, str], timeout: float
    ) -> tuple[int, bytes, Any]:
        connection = http.client.HTTPConnection(self.http_url, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        except (OSError, http.client.HTTPException) as error:
            raise ServiceUnavailableError(
                f"Triton at {self.http_url} is away: {error or type(error).__name__}; start it with: veriphoto serve"
            ) from error
        finally:
            connection.close()


def find_triton(var: Path, repository: Path, *, url: str | None = None, key: str | None = None) -> Triton:
    """Finds the server that serves a repository.

    Args:
        var: Directory under which the launcher keeps its runtime directories.
        repository: The Triton model repository.
        url: ``host:port`` of its HTTP; found by itself where None.
        key: Its admin key.

    Returns:
        Its address and key; whether it is alive is not asked here.

    Raises:
        ServiceUnavailableError: If none is known.
        UsageError: If several are.
    """
    url = url or os.environ.get(URL_VARIABLE)
    key = key or os.environ.get(KEY_VARIABLE)
    handles = _handles(var, repository)
    if url:
        address = url.removeprefix("http://").rstrip("/")
        known = next((each.admin_key for each in handles if each.http_url == address), "")
        return Triton(http_url=address, admin_key=key or known)
    if not handles:
        raise ServiceUnavailableError(
            f"no Triton serves {repository} from {var / 'triton'}; start it with: veriphoto serve, "
            f"or name it with {URL_VARIABLE} and {KEY_VARIABLE}"
        )
    if len(handles) > 1:
        several = ", ".join(each.http_url for each in handles)
        raise UsageError(f"several servers run on {repository}: {several}; choose one with --triton-url")
    return handles[0]


def _handles(var: Path, repository: Path) -> list[Triton]:
    found = []
    for file in sorted((var / TRITON_FOLDER).glob(f"*/{SERVER_FILE}")):
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
            if Path(body["model_repository"]).resolve() != repository.resolve():
                continue
            os.kill(int(body["pid"]), 0)
        except (OSError, ValueError, KeyError, TypeError):  # a server that was killed could not remove its file
            continue
        found.append(Triton(http_url=body["http_url"], admin_key=body["admin_key"]))
    return found


def _question(size: int) -> bytes:
    """Returns the header of a request that names itself a probe: golden pictures are no traffic."""
    image = {"name": IMAGE, "shape": [1, 1], "datatype": "BYTES"}
    inputs = [{**image, "parameters": {"binary_data_size": _PREFIX + size}}]
    return json.dumps({"id": GOLDEN_ID, "parameters": {"binary_data_output": True}, "inputs": inputs}).encode()


def _outputs(body: bytes, length: int) -> dict[str, Any]:
    head, tail = json.loads(body[:length]), body[length:]
    outputs: dict[str, Any] = {}
    for each in head["outputs"]:
        size = each.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[each["name"]] = np.asarray(each["data"], dtype=np.float32)
        else:
            outputs[each["name"]], tail = np.frombuffer(tail[:size], dtype="<f4"), tail[size:]
    return outputs


def _complaint(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace") or "no reason given"
