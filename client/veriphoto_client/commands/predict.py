"""The command ``veriphoto predict``: scores photos and prints one line for each, in the order they were given."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated

import typer

from veriphoto.errors import ImageError, UsageError
from veriphoto.verdict import frequency
from veriphoto.visible import visible
from veriphoto_client.commands.contact_sheet import ContactSheet
from veriphoto_client.commands.engines import Engine, EngineOptions, Scoring, open_engine
from veriphoto_client.commands.exits import INTERRUPTED, SOME_FAILED
from veriphoto_client.commands.inputs import Picture, pictures
from veriphoto_client.scan.rows import printable
from veriphoto_client.sdk.asynchronous import AsyncDetector
from veriphoto_client.sdk.detection import Detection


def predict(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTOS...",
            help="Files, folders, globs, .csv or .parquet lists with a column path; - reads a photo, or paths, from "
            "standard input.",
        ),
    ],
    engine: EngineOptions,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line for each photo.")] = False,
    thumbnails: Annotated[
        Path | None,
        typer.Option(help="Write an HTML contact sheet to this file: the photos, the most suspicious first."),
    ] = None,
) -> None:
    """Score photos and print one line for each.

    Exit code: 0 all scored, 1 some could not be, 2 could not run, or the only photo could not be scored.

    Options other than --json and --thumbnails are also environment variables: --timeout is VERIPHOTO_TIMEOUT.
    """
    if engine.engine is Engine.RAY:
        raise UsageError("--engine ray is for veriphoto scan; predict runs on a server or on this machine")
    sheet = ContactSheet(thumbnails) if thumbnails else None

    async def work() -> bool:
        async with open_engine(engine) as scoring:
            found = pictures(files, sys.stdin.buffer)
            counts = await score_and_print(found, scoring, typer.echo, as_json=as_json, sheet=sheet)
        if sheet is not None:
            sheet.write()
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        summary = "" if counts.total() == 1 else f"{counts.total()} pictures: {kinds or 'none'}; "
        typer.echo(f"{summary}scored by {scoring.name}", err=True)
        return not counts["error"]

    try:
        complete = asyncio.run(work())
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if not complete:
        raise typer.Exit(SOME_FAILED)


async def score_and_print(
    pictures: Iterator[Picture],
    scoring: Scoring,
    say: Callable[[str], None],
    *,
    as_json: bool,
    sheet: ContactSheet | None,
) -> Counter[str]:
    """Scores photos and prints a line for each.

    Args:
        pictures: The photos, in the order of their lines.
        scoring: The engine that scores them.
        say: Prints one line.
        as_json: Whether to print JSON instead of sentences.
        sheet: A contact sheet to add each photo to.

    Returns:
        The number of photos per verdict, and under ``error`` of those that could not be scored.

    Raises:
        ImageError: If the only photo cannot be scored.
        ServiceError: If the engine fails.
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
    """Returns an answer as one line of JSON."""
    said = {"error": printable(answer.to_wire())} if isinstance(answer, ImageError) else answer.to_json()
    return json.dumps({"path": printable(picture.name), **said}, ensure_ascii=False)


def text_line(picture: Picture, answer: Detection | ImageError, *, named: bool) -> str:
    """Returns an answer as one line of text.

    Args:
        picture: The photo.
        answer: Its detection, or the reason why there is none.
        named: Whether to begin with the photo's name.
    """
    said = f"error: {answer.to_wire()}" if isinstance(answer, ImageError) else sentence(answer)
    return visible(printable(f"{picture.name}: {said}" if named else said))


def sentence(detection: Detection) -> str:
    """Describes a detection in words; says how often real product photos score as high if the version knows."""
    verdict = detection.verdict
    why = f" ({verdict.reason})" if verdict.reason else ""
    often = f"; {frequency(detection.real_share)}" if detection.real_share is not None else ""
    return (
        f"{verdict.verdict}{why}: probability {verdict.probability:.4f} that it is AI-generated, "
        f"{verdict.confidence} confidence, model version {verdict.model_version}{often}"
    )
