"""Who scores: a server that answers, or this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from veriphoto.errors import DeadlineExceededError, OverloadedError, ServiceError, ServiceUnavailableError
from veriphoto.second_opinion import Mode
from veriphoto.variants import AUTO
from veriphoto_client._async import AsyncDetector
from veriphoto_client._services import Door
from veriphoto_client._transports import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL
from veriphoto_client.catalogue.local import LocalModel, LocalTransport, cores

REPOSITORY = Path("model_repository")


class Engine(StrEnum):
    """Who scores what is found."""

    AUTO = "auto"
    """A server that was named; without one, a server of this machine if it runs, else this machine itself."""
    SERVER = "server"
    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions:
    """Which engine, and what each of them needs."""

    engine: Engine = Engine.AUTO
    url: str | None = None
    """The server that was named; None for the usual one of this machine."""
    api_key: str | None = None
    door: Door = Door.AUTO
    timeout: float = DEFAULT_TIMEOUT
    in_flight: int = DEFAULT_IN_FLIGHT
    """Requests at a time, for a server."""
    patience: float | None = None
    repository: Path = REPOSITORY
    model: Path | None = None
    """The classifier's directory or one of its versions, instead of the repository's newest."""
    variant: str = AUTO
    second_opinion: Mode = Mode.AUTO
    workers: int | None = None
    """Cores to score on; None for all."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """An engine that is ready."""

    detector: AsyncDetector
    name: str
    """As summaries call it."""
    in_flight: int
    """Pictures that it should be given at a time."""


@asynccontextmanager
async def open_engine(options: EngineOptions) -> AsyncIterator[Scoring]:
    """Opens the engine that is wanted.

    Args:
        options: Which, and how.

    Yields:
        The engine; a server has just scored a test picture, or has said that it is busy, where it was looked for.

    Raises:
        ServiceError: If a server is needed and does not score.
        UsageError: If there is neither a server nor a model repository.
        MissingExtraError: If this machine should score and the packages for it are missing.
    """
    if options.engine is not Engine.LOCAL:
        url = options.url or DEFAULT_URL
        async with AsyncDetector(
            url,
            api_key=options.api_key,
            door=options.door,
            timeout=options.timeout,
            max_in_flight=options.in_flight,
            patience=options.patience,
        ) as detector:
            if options.engine is Engine.SERVER or await _answers(detector, options):
                yield Scoring(detector, f"the server at {url}", options.in_flight)
                return
    workers = options.workers or cores()
    model = LocalModel.find(options.repository, options.model, options.variant, options.second_opinion)
    transport = LocalTransport(model, workers=workers, timeout=options.timeout)
    processes = f"{workers} process{'es' if workers > 1 else ''}"
    # Twice as many pictures as processes: the next ones are read meanwhile.
    async with AsyncDetector(transport=transport, timeout=options.timeout, max_in_flight=2 * workers) as detector:
        yield Scoring(detector, f"this machine (local, {processes}, model version {model.version})", 2 * workers)


async def _answers(detector: AsyncDetector, options: EngineOptions) -> bool:
    try:
        await detector.health()
    except (OverloadedError, DeadlineExceededError):
        return True  # it is there
    except ServiceError as error:
        if options.url is None:
            return False
        # Whoever names a server wants its answers, not those of a version that happens to lie here.
        if isinstance(error, ServiceUnavailableError):
            raise ServiceUnavailableError(f"{error.message}; or score on this machine with --engine local") from error
        raise
    return True
