"""Which engine scores photos: a server that answers, or this machine; and the options that choose it."""

# ruff: noqa: RUF009 - option returns a dataclass field
from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from veriphoto.errors import DeadlineExceededError, OverloadedError, ServiceError, ServiceUnavailableError
from veriphoto.second_opinion import MODE_VARIABLE, Mode
from veriphoto.variants import AUTO
from veriphoto_client.commandline.options import option
from veriphoto_client.local.processes import LocalModel, LocalTransport, cores
from veriphoto_client.sdk.asynchronous import AsyncDetector
from veriphoto_client.triton.transport import DEFAULT_IN_FLIGHT, DEFAULT_TIMEOUT, DEFAULT_URL

_SERVER: Final = "A server"
_HERE: Final = "This machine, or Ray"


class Engine(StrEnum):
    """What scores the photos."""

    AUTO = "auto"
    """The server named with ``--url``; without one, a server on this machine if it runs, else this machine itself."""
    SERVER = "server"
    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerOptions:
    """Which server to ask."""

    url: str | None = option(
        None,
        f"Address of the REST gateway (http://host:8080, https://host) or of Triton ({DEFAULT_URL} by default, "
        "grpc://host:8001).",
        panel=_SERVER,
    )
    api_key: str | None = option(
        None,
        "API key for the gateway. Other users can read command lines: prefer VERIPHOTO_API_KEY.",
        panel=_SERVER,
        secret=True,
    )
    timeout: float = option(DEFAULT_TIMEOUT, "Seconds that one photo may take.")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineOptions(ServerOptions):
    """Which engine to use, and what each of them needs."""

    engine: Engine = option(
        Engine.AUTO,
        "auto: a server if one was named or runs on this machine, else local. server: the REST gateway or Triton. "
        "local: this process, without a server. ray: a Ray cluster (scan only).",
    )
    in_flight: int = option(DEFAULT_IN_FLIGHT, "Requests in flight at a time.", panel=_SERVER, least=1)
    model_repository: Path = option(Path("model_repository"), "Directory that holds the models.", panel=_HERE)
    model: Path | None = option(
        None,
        "The classifier's directory or one of its versions, instead of the newest in the repository.",
        panel=_HERE,
    )
    variant: str | None = option(
        None,
        "How to run the version: by default whatever a server on this machine would run (auto), and fp32 on Ray.",
        panel=_HERE,
    )
    second_opinion: Mode = option(
        Mode.AUTO,
        "When to ask the second opinion: if the classifier cannot rule a photo out (auto), always, or never (off).",
        panel=_HERE,
        variable=MODE_VARIABLE,
    )
    workers: int | None = option(None, "CPU cores to use; by default all.", panel=_HERE, least=1)
    patience: float | None = None
    """Seconds for which to retry a server that is busy or away; None for the SDK's default."""


FOR_SCANS: Final = ("in_flight", "model", "variant", "workers")
"""Options that only ``veriphoto scan`` offers."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """An engine that is ready."""

    detector: AsyncDetector
    name: str
    """What summaries call it."""
    in_flight: int
    """How many photos to give it at a time."""


@asynccontextmanager
async def open_engine(options: EngineOptions) -> AsyncIterator[Scoring]:
    """Opens the engine that the options ask for.

    Args:
        options: The engine and its settings.

    Yields:
        The engine. If ``auto`` chose a server, that server has just scored a test photo or answered that it is busy.

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
            timeout=options.timeout,
            max_in_flight=options.in_flight,
            patience=options.patience,
        ) as detector:
            if options.engine is Engine.SERVER or await _answers(detector, options):
                yield Scoring(detector, f"the server at {url}", options.in_flight)
                return
    workers = options.workers or cores()
    model = LocalModel.find(options.model_repository, options.model, options.variant or AUTO, options.second_opinion)
    transport = LocalTransport(model, workers=workers, timeout=options.timeout)
    processes = f"{workers} process{'es' if workers > 1 else ''}"
    # Twice as many photos as processes, so that the next ones are read meanwhile.
    async with AsyncDetector(transport=transport, timeout=options.timeout, max_in_flight=2 * workers) as detector:
        yield Scoring(detector, f"this machine (local, {processes}, model version {model.version})", 2 * workers)


async def _answers(detector: AsyncDetector, options: EngineOptions) -> bool:
    try:
        await detector.health()
    except (OverloadedError, DeadlineExceededError):
        return True  # busy, but there
    except ServiceError as error:
        if not options.url:
            return False
        # Whoever names a server wants its answers, not those of a version that happens to be on this machine.
        if isinstance(error, ServiceUnavailableError):
            raise ServiceUnavailableError(f"{error.message}; or score on this machine with --engine local") from error
        raise
    return True
