"""What the routes share: everything that takes part in answering about a picture, built once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, cast

from starlette.requests import Request

from veriphoto.errors import DeadlineExceededError, VeriphotoError
from veriphoto_client import Detection
from veriphoto_serving.gateway import provenance
from veriphoto_serving.gateway.admission import Bound
from veriphoto_serving.gateway.cache_versions import ServedVersion
from veriphoto_serving.gateway.containers import may_claim
from veriphoto_serving.gateway.drift import Sidecar
from veriphoto_serving.gateway.explanation import Explanation, explain
from veriphoto_serving.gateway.metrics import Metrics
from veriphoto_serving.gateway.provenance import Provenance
from veriphoto_serving.gateway.ratelimit import RateLimit
from veriphoto_serving.gateway.scoring import Scored, Scorer
from veriphoto_serving.gateway.settings import GatewaySettings
from veriphoto_serving.gateway.upload import Uploads
from veriphoto_serving.gateway.watchdog import Watchdog
from veriphoto_serving.shadow import Shadow

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
class Desk:
    """One for each gateway; lives as long as its event loop."""

    settings: GatewaySettings
    scorer: Scorer
    uploads: Uploads
    watchdog: Watchdog
    metrics: Metrics
    rate: RateLimit
    sidecar: Sidecar
    shadow: Shadow
    versions: ServedVersion | None = None
    """Whom the cache of answers asks for the served version; None where nothing is remembered."""
    started: float = field(default_factory=time.monotonic)
    draining: bool = False
    drawings: Bound = field(default_factory=lambda: Bound(8, "explanations"))
    """Explanations being made or waiting for their turn."""
    # Metadata is parsed off the loop, and hostile metadata holds up no more than these two threads.
    _readers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2, "provenance"))
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
            scored = await score
            enough = asyncio.get_running_loop().time() + _METADATA_S
            return self._opinion(data, scored, await _in_time(claims, enough))
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
        enough = asyncio.get_running_loop().time() + _METADATA_S  # for all together
        return [
            answer if isinstance(answer, VeriphotoError) else self._opinion(data, answer, await _in_time(claim, enough))
            for data, answer, claim in zip(pictures.values(), answers, claims, strict=True)
        ]

    async def explain(self, data: bytes, detection: Detection, deadline: float) -> Explanation:
        """Draws the evidence of an answer, one picture at a time.

        Args:
            data: The bytes of the file.
            detection: The answer.
            deadline: When nobody waits any more, by the loop's clock: others may be drawn first, and slowly.

        Raises:
            DeadlineExceededError: If there is no drawing by then.
        """
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.get_running_loop().run_in_executor(self._artists, explain, data, detection)
        except TimeoutError as error:
            raise DeadlineExceededError("the evidence was not drawn in time") from error

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
        self.shadow.close()
        await self.sidecar.close()
        if self.versions is not None:
            await self.versions.close()


async def _in_time(claims: asyncio.Future[Provenance] | None, enough: float) -> Provenance:
    if claims is None:
        return provenance.NO_CLAIMS
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(enough):
            return await claims
    return provenance.UNKNOWN


def desk_of(request: Request) -> Desk:
    """Returns the desk of the gateway that a request came to."""
    return cast(Desk, request.app.state.desk)
