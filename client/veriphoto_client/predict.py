"""``veriphoto predict``: scores pictures and says so, one line each, in the order in which they were given."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import chain, islice

from veriphoto.errors import ImageError
from veriphoto.verdict import frequency
from veriphoto_client._async import AsyncDetector
from veriphoto_client._detection import Detection
from veriphoto_client.contact_sheet import ContactSheet
from veriphoto_client.engines import Scoring
from veriphoto_client.inputs import Picture
from veriphoto_client.scan.rows import printable


async def predict(
    pictures: Iterator[Picture],
    scoring: Scoring,
    say: Callable[[str], None],
    *,
    as_json: bool,
    sheet: ContactSheet | None,
) -> Counter[str]:
    """Scores pictures.

    Args:
        pictures: Which.
        scoring: Who scores them.
        say: Prints a line.
        as_json: Whether lines are JSON.
        sheet: Takes in each picture; None for none.

    Returns:
        How many pictures had each verdict, and how many an ``error``.

    Raises:
        ImageError: If there is a single picture and it cannot be scored.
        ServiceError: If the service does not do its part.
    """
    ahead = list(islice(pictures, 2))
    alone = len(ahead) == 1
    counts: Counter[str] = Counter()
    async for picture, answer in _scored(chain(ahead, pictures), scoring):
        if alone and isinstance(answer, ImageError):
            raise answer
        counts["error" if isinstance(answer, ImageError) else answer.verdict.verdict] += 1
        say(json_line(picture, answer) if as_json else text_line(picture, answer, named=not alone))
        if sheet is not None:
            await asyncio.to_thread(sheet.add, picture.name, picture.image, answer)
    return counts


async def _scored(
    pictures: Iterable[Picture], scoring: Scoring
) -> AsyncIterator[tuple[Picture, Detection | ImageError]]:
    waiting: deque[tuple[Picture, asyncio.Task[Detection | ImageError]]] = deque()
    try:
        for picture in pictures:
            waiting.append((picture, asyncio.create_task(_attempt(picture, scoring.detector))))
            if len(waiting) >= scoring.in_flight:
                first, task = waiting.popleft()
                yield first, await task
        while waiting:
            first, task = waiting.popleft()
            yield first, await task
    finally:
        for _, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _, task in waiting), return_exceptions=True)


async def _attempt(picture: Picture, detector: AsyncDetector) -> Detection | ImageError:
    if picture.error is not None:
        return picture.error
    try:
        return await detector.predict(picture.image)
    except ImageError as error:
        return error


def json_line(picture: Picture, answer: Detection | ImageError) -> str:
    """Says an answer as one line of JSON."""
    said = {"error": answer.to_wire()} if isinstance(answer, ImageError) else answer.to_json()
    return json.dumps({"path": printable(picture.name), **said}, ensure_ascii=False)


def text_line(picture: Picture, answer: Detection | ImageError, *, named: bool) -> str:
    """Says an answer in a sentence.

    Args:
        picture: Which.
        answer: What was said of it.
        named: Whether to begin with the picture's name.
    """
    name = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in printable(picture.name)
    )
    said = f"error: {answer.to_wire()}" if isinstance(answer, ImageError) else sentence(answer)
    return f"{name}: {said}" if named else said


def sentence(detection: Detection) -> str:
    """Says an answer in words, with how often real product photos score as high, where that is known."""
    verdict = detection.verdict
    why = f" ({verdict.reason})" if verdict.reason else ""
    often = f"; {frequency(detection.real_share)}" if detection.real_share is not None else ""
    return (
        f"{verdict.verdict}{why}: probability {verdict.probability:.4f} that it is AI-generated, "
        f"{verdict.confidence} confidence, model version {verdict.model_version}{often}"
    )
