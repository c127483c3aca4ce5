"""Scoring through the REST gateway: a photo is the body of ``POST /predict``, and the answer is JSON."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, Final, get_args

import httpx
import numpy as np

from veriphoto.contract import CONTRACT
from veriphoto.decoding import decode
from veriphoto.errors import (
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    ServiceError,
    ServiceUnavailableError,
    VeriphotoError,
    from_wire,
)
from veriphoto.foreign_json import parse
from veriphoto.prediction_log.record import keep_id
from veriphoto.verdict import Confidence, Label, OperatingPoint, Prediction, Reason, Verdict
from veriphoto_client.metadata.claims import Provenance
from veriphoto_client.sdk.detection import Detection, FeedbackStatus, Health, SecondOpinionAnswer
from veriphoto_client.sdk.retry import asking_to_wait
from veriphoto_client.sdk.services import ServiceKind

PATIENCE_S: Final = 10.0
"""Seconds for which requests are retried by default if the gateway is busy or away."""

_CODES: Final[Mapping[str, type[ServiceError]]] = MappingProxyType(
    {
        "service_unavailable": ServiceUnavailableError,
        "overloaded": OverloadedError,
        "rate_limited": OverloadedError,
        "deadline_exceeded": DeadlineExceededError,
        "upload_timeout": DeadlineExceededError,
        **dict.fromkeys(
            (
                *("bad_request", "missing_file", "too_many_files", "unauthorized", "not_found", "method_not_allowed"),
                *("length_required", "body_too_large", "encoding_not_supported", "invalid_request", "forbidden"),
            ),
            InvalidRequestError,
        ),
    }
)
"""The gateway's codes that do not concern a photo; all others become a plain ``ServiceError``."""
_STATUS: Final[Mapping[int, type[ServiceError]]] = MappingProxyType(
    {
        **dict.fromkeys((400, 401, 403, 404, 405, 411, 413, 415), InvalidRequestError),
        **dict.fromkeys((502, 503), ServiceUnavailableError),
        **dict.fromkeys((408, 504), DeadlineExceededError),
        429: OverloadedError,
    }
)
"""For answers without a code, such as those of a proxy in front of the gateway."""
_GIVE_KEY: Final = "; give the key as VERIPHOTO_API_KEY or api_key"
_STRANGE: Final = (ValueError, KeyError, TypeError, OverflowError)
"""What reading an answer raises that is not the gateway's."""
_ALIVE: Final = {"status": "alive"}
"""The gateway's answer to ``GET /healthz``, which needs no key and does not depend on Triton."""


class GatewayService:
    """Implements ``Service``."""

    def __init__(self, url: str, *, api_key: str | None, timeout: float, in_flight: int) -> None:
        """Stores the address; connects at the first request, inside its event loop.

        Args:
            url: ``http://host:port`` or ``https://host``, optionally with a path prefix.
            api_key: Sent with each request; None if the gateway needs none.
            timeout: Seconds for one request.
            in_flight: Maximum number of connections.
        """
        self.patience = PATIENCE_S
        self._url = url.rstrip("/")
        self._headers = {"X-API-Key": api_key} if api_key else {}
        self._timeout = timeout
        self._in_flight = in_flight
        self._http: httpx.AsyncClient | None = None

    async def detect(self, data: bytes, request_id: str = "") -> Detection:
        """See ``Service.detect``."""
        if not data:
            decode(data)  # raises Triton's error; to the gateway, an empty body is a request without a photo
        headers = {**self._headers, "Content-Type": "application/octet-stream"}
        if keep_id(request_id):  # the gateway replaces any other
            headers["X-Request-ID"] = request_id
        answer = await self._send("POST", "/predict", content=data, headers=headers)
        if answer.status_code != 200:
            raise refusal(answer, self._url)
        try:
            return read_answer(parse(answer.content))
        except _STRANGE as error:
            raise self._stranger(error) from error

    async def health(self) -> Health:
        """See ``Service.health``: reads the gateway's own last test photo, which is seconds old."""
        answer = await self._send("GET", "/health", headers=self._headers)
        try:
            said = parse(answer.content)
            if said["key"] is None:
                raise InvalidRequestError(f"{self._url}: the API key is missing or wrong{_GIVE_KEY}")
            if answer.status_code != 200:
                raise ServiceUnavailableError(
                    f"{self._url} does not score photos at the moment: it is {said['status']}; try again in a moment"
                )
            return Health(
                url="",
                model_version=int(said["model_version"]),
                threshold=float(said["threshold"]),
                latency_ms=float(said["canary"]["latency_ms"]),
            )
        except _STRANGE as error:
            raise (self._stranger(error) if answer.status_code == 200 else refusal(answer, self._url)) from error

    async def feedback(self, request_id: str, truth: Prediction, note: str) -> FeedbackStatus:
        """See ``Service.feedback``."""
        told = {"request_id": request_id, "truth": truth, "note": note}
        answer = await self._send("POST", "/feedback", json=told, headers=self._headers)
        if answer.status_code != 200:
            raise refusal(answer, self._url)
        try:
            status: FeedbackStatus = parse(answer.content)["status"]
            if status not in get_args(FeedbackStatus):
                raise ValueError(f"status {status!r}")
        except _STRANGE as error:
            raise self._stranger(error) from error
        return status

    def _stranger(self, error: Exception) -> ServiceError:
        return ServiceError(
            f"{self._url}: what answers there is not Veriphoto's gateway, or another version ({error!r}); "
            "check the address, and use client and server of one version"
        )

    async def is_gateway(self) -> bool:
        """Returns whether the address is that of a gateway.

        Raises:
            ServiceError: If nothing answers, or only a proxy with no server behind it.
        """
        answer = await self._send("GET", "/healthz")
        if answer.status_code in (502, 503, 504):
            raise refusal(answer, self._url)
        try:
            return answer.status_code == 200 and bool(parse(answer.content) == _ALIVE)
        except ValueError:
            return False

    async def kind(self) -> ServiceKind:
        """See ``Service.kind``."""
        return ServiceKind.GATEWAY

    async def close(self) -> None:
        """See ``Service.close``."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def _send(self, method: str, route: str, **content: Any) -> httpx.Response:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._connected().request(method, self._url + route, **content)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise DeadlineExceededError(
                f"{self._url} did not answer within {self._timeout:g} s; allow more time or send a smaller copy"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            said = str(error) or type(error).__name__
            raise ServiceUnavailableError(
                f"{self._url}: {said}; is it running? Start one with: veriphoto serve"
            ) from error

    def _connected(self) -> httpx.AsyncClient:
        if self._http is None:
            # Loading the system's certificates takes longer than a request, and plain HTTP does not need them.
            tls = (
                ssl.create_default_context()
                if self._url.startswith("https")
                else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            )
            limits = httpx.Limits(max_connections=self._in_flight, max_keepalive_connections=self._in_flight)
            self._http = httpx.AsyncClient(verify=tls, timeout=self._timeout, trust_env=False, limits=limits)
        return self._http


def read_answer(answer: Mapping[str, Any]) -> Detection:
    """Parses the gateway's answer about a photo.

    Args:
        answer: The JSON body of the answer.

    Returns:
        The detection; its evidence is empty, which only ``/predict/explain`` returns.

    Raises:
        ValueError: If a value is invalid; KeyError or TypeError if it is missing or has another type, OverflowError if
            it is infinite.
    """
    if answer["verdict"] not in get_args(Label) or answer["confidence"] not in get_args(Confidence):
        raise ValueError(f"verdict {answer['verdict']!r}, confidence {answer['confidence']!r}")
    if answer["reason"] not in get_args(Reason):
        raise ValueError(f"reason {answer['reason']!r}")
    probability, threshold, version = answer["probability"], answer["threshold"], answer["model_version"]
    gates, second, statistics = answer["gates"], answer["second_opinion"], answer["statistics"]
    low, high = answer["unsure_band"]
    evidence = np.empty((0, CONTRACT.grid, CONTRACT.grid), np.float32)
    evidence.flags.writeable = False
    return Detection(
        verdict=Verdict(
            verdict=answer["verdict"],
            probability=float(probability),
            confidence=answer["confidence"],
            threshold=float(threshold),
            model_version=int(version),
            reason=answer["reason"],
        ),
        logit=float(answer["logit"]),
        statistics=MappingProxyType({name: float(statistics[name]) for name in CONTRACT.statistics}),
        operating_point=OperatingPoint(
            model_version=int(version),
            threshold=float(threshold),
            unsure_low=float(low),
            unsure_high=float(high),
            min_side=float(gates["min_side"]),
            max_blockiness=float(gates["max_blockiness"]),
        ),
        evidence=evidence,
        second_opinion=SecondOpinionAnswer(
            asked=bool(second["asked"]),
            first_logit=float(second["first_logit"]),
            first_threshold=float(second["first_threshold"]),
            second_logit=float(second["second_logit"]),
        ),
        real_share=answer["real_photos_this_high"],
        request_id=str(answer["request_id"]),
        provenance=Provenance.from_json(answer["provenance"]),
    )


def refusal(answer: httpx.Response, url: str) -> VeriphotoError:
    """Returns the error that an answer stands for.

    Args:
        answer: An answer with a status other than 200.
        url: The gateway's address, for the message.

    Returns:
        An ``ImageError`` if the photo was refused, otherwise a ``ServiceError`` that carries the ``Retry-After``.
    """
    status = answer.status_code
    try:
        said = parse(answer.content)
        code, detail = str(said["error"]), str(said["detail"])
    except (ValueError, KeyError, TypeError):
        if answer.is_redirect:
            return InvalidRequestError(f"{url} sends callers to {answer.headers.get('location')}; give that address")
        kind = _STATUS.get(status, ServiceError)
        return asking_to_wait(
            kind(f"{url} answers {status}; check the address and what is in front of it"), _wait(answer)
        )
    if picture := from_wire(f"[{code}] {detail}"):
        return picture
    advice = _GIVE_KEY if code == "unauthorized" else ""
    where = f" (request {said['request_id']})" if said.get("request_id") else ""  # the gateway's log has more under it
    return asking_to_wait(_CODES.get(code, ServiceError)(f"{url}: {detail}{advice}{where}"), _wait(answer))


def _wait(answer: httpx.Response) -> float | None:
    said = answer.headers.get("retry-after", "")
    if said.isdecimal():
        return float(said)
    try:
        when = parsedate_to_datetime(said)
    except ValueError:
        return None
    # HTTP's older date has no zone, and means UTC.
    return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time())
