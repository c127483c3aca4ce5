"""What the routes share: everything needed to answer a request, built once per gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, cast

from starlette.requests import Request

from veriphoto.errors import DatabaseError, DeadlineExceededError, VeriphotoError
from veriphoto_client import Detection
from veriphoto_client.metadata import provenance
from veriphoto_client.metadata.claims import Provenance
from veriphoto_client.metadata.containers import may_claim
from veriphoto_serving.gateway.answering.explanation import Explanation, explain
from veriphoto_serving.gateway.answering.feedback import FeedbackDesk, Receipt
from veriphoto_serving.gateway.answering.scoring import Scored, Scorer
from veriphoto_serving.gateway.answering.shadow import Shadow
from veriphoto_serving.gateway.health.drift import DriftMonitorClient
from veriphoto_serving.gateway.health.watchdog import Watchdog
from veriphoto_serving.gateway.metrics import Metrics
from veriphoto_serving.gateway.middleware.admission import Bound
from veriphoto_serving.gateway.middleware.ratelimit import RateLimit
from veriphoto_serving.gateway.middleware.upload import Uploads
from veriphoto_serving.gateway.settings import GatewaySettings

_LOG: Final = logging.getLogger(__name__)
_METADATA_S: Final = 0.5
"""How much longer than the score itself reading the metadata may take."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """The score of a picture and what its metadata claims."""

    scored: Scored
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Returns the fields of the API's answer as plain JSON values."""
        detection = self.scored.detection
        verdict, point = detection.verdict, detection.operating_point
        return {
            "prediction": verdict.prediction,
            "verdict": verdict.verdict,
            "probability": verdict.probability,
            "confidence": verdict.confidence,
            "threshold": verdict.threshold,
            "unsure_band": [point.unsure_low, point.unsure_high],
            "reason": verdict.reason,
            "logit": detection.logit,
            "gates": {"min_side": point.min_side, "max_blockiness": point.max_blockiness},
            "statistics": dict(detection.statistics),
            "inference_time_ms": round(self.scored.milliseconds, 3),
            "model_version": verdict.model_version,
            "second_opinion": detection.second_opinion.to_json(),
            "real_photos_this_high": detection.real_share,
            "provenance": self.provenance.to_json(),
        }


@dataclass(slots=True)
class Services:
    """The parts of one gateway; lives as long as its event loop."""

    settings: GatewaySettings
    scorer: Scorer
    uploads: Uploads
    watchdog: Watchdog
    metrics: Metrics
    rate: RateLimit
    drift_monitor: DriftMonitorClient
    shadow: Shadow
    feedback: FeedbackDesk | None = None
    """None where no feedback is taken."""
    feedback_from: frozenset[str] = frozenset()
    """Names of the callers that may send feedback."""
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    drawings: Bound = field(default_factory=lambda: Bound(8, "explanations"))
    """Limits the explanations that are being drawn or queued."""
    truths: Bound = field(default_factory=lambda: Bound(32, "feedback reports"))
    """Limits the feedback that is being written or queued."""
    # Metadata is parsed off the event loop, so hostile metadata blocks these two threads at most.
    _readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "provenance"))
    _explainers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "explanation"))
    _feedback_writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "feedback"))

    async def assess(self, data: bytes, request_id: str) -> Assessment:
        """Scores a picture and reads its metadata in parallel.

        Args:
            data: The bytes of the file.
            request_id: Id of the answer in the prediction log.

        Returns:
            The score and the claims.

        Raises:
            VeriphotoError: If the picture could not be scored.
        """

        async def score() -> list[Scored]:
            return [await self.scorer.score(data, request_id)]

        (answer,) = await self._judge(score(), [data])
        if isinstance(answer, VeriphotoError):
            raise answer
        return answer

    async def assess_together(self, pictures: Mapping[str, bytes]) -> list[Assessment | VeriphotoError]:
        """Scores several pictures; see ``assess``.

        Args:
            pictures: The bytes of the files by request id.

        Returns:
            For each picture, in order, its assessment or error.

        Raises:
            VeriphotoError: If no picture can be scored now.
        """
        return await self._judge(self.scorer.score_together(pictures), pictures.values())

    async def explain(self, data: bytes, detection: Detection, deadline: float) -> Explanation:
        """Draws the evidence of an answer, one picture at a time.

        Args:
            data: The bytes of the file.
            detection: The answer.
            deadline: Loop time at which the caller gives up: other drawings may be queued first.

        Raises:
            DeadlineExceededError: If it is not drawn by then.
        """
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.get_running_loop().run_in_executor(self._explainers, explain, data, detection)
        except TimeoutError as error:
            raise DeadlineExceededError("the evidence was not drawn in time") from error

    async def take_feedback(self, kind: str, value: str, truth: str, note: str, actor: str) -> Receipt:
        """Hands a truth to the review, one at a time.

        Args:
            kind: Kind of name: request id, sha256 or reference id.
            value: The picture's name of that kind.
            truth: What the picture really is.
            note: Reason that the caller gives.
            actor: Name of the API key.

        Raises:
            DatabaseError: If the database refuses; nothing has changed then.
            BusyError: If too many wait for the database.
        """
        assert self.feedback is not None  # noqa: S101 - without it there is no route
        with self.truths.take():
            work = partial(self.feedback.take, kind=kind, value=value, truth=truth, note=note, actor=actor)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._feedback_writers, work)
            except DatabaseError as error:  # which of its troubles is the operator's business, not the caller's
                _LOG.error("feedback was not taken: %s", error.to_wire(), exc_info=error)
                raise DatabaseError("the review database refuses") from error

    async def _judge(
        self, scoring: Coroutine[Any, Any, Sequence[Scored | VeriphotoError]], pictures: Collection[bytes]
    ) -> list[Assessment | VeriphotoError]:
        """Waits for the scores of pictures and reads their metadata meanwhile, unless scoring refuses them at once."""
        score = asyncio.ensure_future(scoring)
        claims: list[asyncio.Future[Provenance] | None] = []
        try:
            await asyncio.sleep(0)  # lets requests to Triton go out before threads compete for the CPU
            if score.done():
                score.result()
            claims = [self._inspect(data) for data in pictures]
            answers = await score
            enough = asyncio.get_running_loop().time() + _METADATA_S  # one deadline for all of them
            return [
                answer
                if isinstance(answer, VeriphotoError)
                else self._assess(data, answer, await _in_time(claim, enough))
                for data, answer, claim in zip(pictures, answers, claims, strict=True)
            ]
        finally:
            score.cancel()
            for claim in claims:
                if claim is not None:
                    claim.cancel()  # what no thread has begun is not begun any more

    def _inspect(self, data: bytes) -> asyncio.Future[Provenance] | None:
        if not may_claim(data):
            return None
        return asyncio.get_running_loop().run_in_executor(self._readers, provenance.inspect, data)

    def _assess(self, data: bytes, scored: Scored, claims: Provenance) -> Assessment:
        self.metrics.scored(scored.detection, scored.milliseconds)
        # A challenger is a classifier, so it is compared with the served classifier alone.
        first = scored.detection.second_opinion
        version = scored.detection.verdict.model_version
        self.shadow.offer(data, version, first.first_probability, first.first_threshold)
        return Assessment(scored, claims)

    async def close(self) -> None:
        """Ends its threads and connections."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._explainers.shutdown(wait=False, cancel_futures=True)
        self._feedback_writers.shutdown(wait=False, cancel_futures=True)
        self.shadow.close()
        await self.drift_monitor.close()


async def _in_time(claims: asyncio.Future[Provenance] | None, enough: float) -> Provenance:
    if claims is None:
        return provenance.NO_CLAIMS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(enough):
            return await claims
    return provenance.UNKNOWN


def services_of(request: Request) -> Services:
    """Returns the services of the gateway that received a request."""
    return cast(Services, request.app.state.services)
