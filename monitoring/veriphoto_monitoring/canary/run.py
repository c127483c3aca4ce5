"""One run of the canaries."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from veriphoto.errors import ImageError, UsageError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto_client import AsyncDetector, Detection
from veriphoto_client.sdk.services import ServiceKind
from veriphoto_client.sdk.together import together
from veriphoto_monitoring.canary.pictures import Canary, find
from veriphoto_monitoring.canary.results import Results
from veriphoto_monitoring.canary.verdict import MEASURES, GroupTally, judge_groups


def run(directory: Path, url: str, in_flight: int, reference: Sequence[GroupTally] | None, level: float) -> Results:
    """Scores a folder once.

    Args:
        directory: See ``pictures.find``.
        url: Triton's address.
        in_flight: Requests at a time.
        reference: Tallies to compare with; None to compare with nothing.
        level: See ``judge_groups``.

    Returns:
        The results; pictures that the server refuses are counted as unreadable.

    Raises:
        DataError: If there are no pictures.
        UsageError: If the address is that of a gateway, which gives photos ids of its own: they would count as traffic.
        ServiceError: If the server fails: an incomplete run is not a result.
    """
    canaries = find(directory)
    answers = asyncio.run(_score(canaries, url, in_flight))
    flagged: Counter[tuple[str, str]] = Counter()
    scored: Counter[tuple[str, str]] = Counter()
    refused: Counter[tuple[str, str]] = Counter()
    for each, answer in zip(canaries, answers, strict=True):
        place = (each.truth, each.group)
        if isinstance(answer, Detection):
            scored[place] += 1
            flagged[place] += answer.verdict.prediction == "ai_generated"
        else:
            refused[place] += 1
    tallies = [
        GroupTally(
            truth=truth,
            group=group,
            flagged=flagged[truth, group],
            pictures=scored[truth, group],
            unreadable=refused[truth, group],
        )
        for truth in MEASURES
        for group in sorted({each.group for each in canaries if each.truth == truth})
    ]
    return Results(
        tallies=tallies,
        judged=judge_groups(tallies, reference, level) if reference is not None else [],
        model_versions=sorted({each.verdict.model_version for each in answers if isinstance(each, Detection)}),
        level=level,
    )


async def _score(canaries: Sequence[Canary], url: str, in_flight: int) -> list[Detection | ImageError]:
    """Returns an answer for each picture, in order. Their ids keep them out of the drift statistics."""
    prefix = f"{PROBE_PREFIX}canary-{uuid.uuid4().hex[:8]}"
    async with AsyncDetector(url, max_in_flight=in_flight) as detector:
        if await detector.kind() is ServiceKind.GATEWAY:
            raise UsageError(
                f"{url} is the REST gateway: canaries sent through it would count as traffic; name Triton with "
                "--url http://host:8000"
            )

        async def one(number: int, path: Path) -> Detection | ImageError:
            try:
                return await detector.predict(path, request_id=f"{prefix}-{number}")
            except ImageError as error:
                return error

        return await together(one(number, each.path) for number, each in enumerate(canaries))
