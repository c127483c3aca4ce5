"""What the routes share: everything that takes part in answering about a picture, built once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from starlette.requests import Request

from veriphoto.errors import DatabaseError, VeriphotoError
from veriphoto_client import Detection
from veriphoto_serving.gateway.answering import provenance
from veriphoto_serving.gateway.answering.containers import may_claim
from veriphoto_serving.gateway.answering.explanation import Explanation, explain
from veriphoto_serving.gateway.answering.feedback import FeedbackDesk, Receipt
from veriphoto_serving.gateway.answering.provenance import Provenance
from veriphoto_serving.gateway.answering.scoring import Scored, Scorer
from veriphoto_serving.gateway.answering.shadow import Shadow
from veriphoto_serving.gateway.health.drift import SidecarClient
from veriphoto_serving.gateway.health.watchdog import Watchdog
from veriphoto_serving.gateway.metrics import Metrics
from veriphoto_serving.gateway.middleware.admission import Bound
from veriphoto_serving.gateway.middleware.ratelimit import RateLimit
from veriphoto_serving.gateway.middleware.upload import Uploads
from veriphoto_serving.gateway.settings import GatewaySettings

_LOG: Final = logging.getLogger(__name__)
_METADATA_S: Final = 0.5
"""How much longer than the score itself the metadata may take."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """A scored picture and what its metadata claims."""

    scored: Scored
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Returns plain JSON values, as the API words them."""
        verdict = self.scored.detection.verdict
        point = self.scored.detection.operating_point
        return {
            "prediction": verdict.prediction,
            "verdict": verdict.verdict,
            "probability": verdict.probability,
            "confidence": verdict.confidence,
            "threshold": verdict.threshold,
            "unsure_band": [point.unsure_low, point.unsure_high],
            "reason": verdict.reason,
            "inference_time_ms": round(self.scored.milliseconds, 3),
            "model_version": verdict.model_version,
            "provenance": self.provenance.to_json(),
        }


@dataclass(slots=True)
class Services:
    """One for each gateway; lives as long as its event loop."""

    settings: GatewaySettings
    scorer: Scorer
    uploads: Uploads
    watchdog: Watchdog
    metrics: Metrics
    rate: RateLimit
    sidecar: SidecarClient
    shadow: Shadow
    feedback: FeedbackDesk | None = None
    """None where no feedback is taken."""
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    drawings: Bound = field(default_factory=lambda: Bound(8, "explanations"))
    """Explanations being made or waiting for their turn."""
    truths: Bound = field(default_factory=lambda: Bound(32, "truths"))
    """Feedback being written or waiting for its turn."""
    # Metadata is parsed off the loop, and hostile metadata holds up no more than these two threads.
    _readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "provenance"))
    _tellers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "feedback"))
    _artists: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "explanation"))

    async def judge(self, data: bytes, request_id: str) -> Opinion:
        """Scores a picture and reads its metadata meanwhile.

        Args:
            data: The bytes of the file.
            request_id: Under which the prediction log notes the answer.

        Returns:
            Both.

        Raises:
            VeriphotoError: If the picture could not be scored.
        """
        score = asyncio.ensure_future(self.scorer.score(data, request_id))
        try:
            await asyncio.sleep(0)  # sends the picture on its way before a thread begins to compete
            claims = self._inspect(data)
            return self._opinion(data, await score, await _in_time(claims))
        except BaseException:
            score.cancel()
            raise

    async def judge_together(self, pictures: Mapping[str, bytes]) -> list[Opinion | VeriphotoError]:
        """Does for several pictures what ``judge`` does for one.

        Args:
            pictures: The bytes of the files by request id.

        Returns:
            For each, in order, the opinion or what is wrong with it.

        Raises:
            VeriphotoError: If none can be scored now.
        """
        claims = [self._inspect(data) for data in pictures.values()]
        answers = await self.scorer.score_together(pictures)
        return [
            answer if isinstance(answer, VeriphotoError) else self._opinion(data, answer, await _in_time(claim))
            for data, answer, claim in zip(pictures.values(), answers, claims, strict=True)
        ]

    async def explain(self, data: bytes, detection: Detection) -> Explanation:
        """Draws the evidence of an answer, one picture at a time.

        Args:
            data: The bytes of the file.
            detection: The answer.
        """
        return await asyncio.get_running_loop().run_in_executor(self._artists, explain, data, detection)

    async def tell(self, kind: str, value: str, truth: str, note: str, actor: str) -> Receipt:
        """Hands a truth to the review, one at a time.

        Args:
            kind: By what the picture is named.
            value: Its name.
            truth: What it is.
            note: Why.
            actor: Name of the API key.

        Raises:
            DatabaseError: If the database refuses; nothing has changed then.
            BusyError: If too many wait for the database.
        """
        assert self.feedback is not None  # noqa: S101 - without it there is no route
        with self.truths.take():
            work = partial(self.feedback.take, kind=kind, value=value, truth=truth, note=note, actor=actor)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._tellers, work)
            except DatabaseError as error:  # which of its troubles is the operator's business, not the caller's
                _LOG.error("feedback was not taken: %s", error.to_wire())
                raise DatabaseError("the review database refuses") from error

    def _inspect(self, data: bytes) -> asyncio.Future[Provenance] | None:
        if not may_claim(data):
            return None
        return asyncio.get_running_loop().run_in_executor(self._readers, provenance.inspect, data)

    def _opinion(self, data: bytes, scored: Scored, claims: Provenance) -> Opinion:
        self.metrics.scored(scored.detection, scored.milliseconds)
        verdict = scored.detection.verdict
        self.shadow.offer(data, verdict.model_version, verdict.probability, verdict.threshold)
        return Opinion(scored, claims)

    async def close(self) -> None:
        """Ends its threads and connections."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._artists.shutdown(wait=False, cancel_futures=True)
        self._tellers.shutdown(wait=False, cancel_futures=True)
        self.shadow.close()
        await self.sidecar.close()


async def _in_time(claims: asyncio.Future[Provenance] | None) -> Provenance:
    if claims is None:
        return provenance.NO_CLAIMS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_METADATA_S):
            return await claims
    return provenance.UNKNOWN


def services_of(request: Request) -> Services:
    """Returns the services of the gateway that a request came to."""
    return cast(Services, request.app.state.services)
