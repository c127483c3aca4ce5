"""The gateway as the page sees it: a few calls, and sentences for people where they fail."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import httpx

from veriphoto.errors import UsageError
from veriphoto.foreign_json import parse
from veriphoto_client.addresses import split_address

Answer: TypeAlias = dict[str, Any]

MOST_FILES: Final = 20
"""In one request: the gateway's default bound for a batch."""
MOST_BYTES: Final = 60_000_000
_PATIENCE_S: Final = 60.0
_BRIEF_S: Final = 3.0
_AGAIN_S: Final = 20.0
"""Seconds for which a service that is busy or away is asked again."""
_PAUSE_S: Final = 2.0
_HEALTH: Final[Answer] = {"status": "away", "model_version": None, "feedback": False, "drift": {"state": "away"}}
UNREADABLE: Final = "unreadable"
"""Code of the answer about a photo that has a problem."""
UNANSWERED: Final = frozenset(
    {"overloaded", "rate_limited", "deadline_exceeded", "service_unavailable", "service_error", "veriphoto_error"}
)
"""Codes of the gateway that say nothing about the photo: another time it may be judged."""


class PageError(Exception):
    """Something went wrong that the reader of the page should know; the message is for them."""


class BusyError(PageError):
    """The service did not judge what it was sent, and may do so another time."""


class AwayError(BusyError):
    """Nothing answered at all; somebody who waits should hear so at once."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One file that somebody wants judged."""

    name: str
    content: bytes
    problem: str = ""
    """Why it can be sent to nobody, where its bytes could not be had; ``content`` is empty then."""


class Gateway:
    """Asks the gateway."""

    def __init__(self, url: str, key: str = "", transport: httpx.BaseTransport | None = None) -> None:
        """Remembers where it is.

        Args:
            url: ``http://host:port``.
            key: The page's API key, where the gateway needs one.
            transport: Used instead of the network.

        Raises:
            UsageError: If that is no address.
        """
        require_address(url)
        headers = {"X-API-Key": key} if key else {}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=_PATIENCE_S, transport=transport, trust_env=False
        )

    def explain(self, photo: Photo) -> Answer:
        """Has one photo scored and explained.

        Raises:
            PageError: If there is no answer; its message says why.
        """
        return self._checked("POST", "/predict/explain", files={"file": (photo.name, photo.content)})

    def judge(self, photos: Sequence[Photo]) -> Iterator[Answer]:
        """Has many photos scored, some at a time.

        Args:
            photos: The files.

        Yields:
            For each, in order, its answer, or ``filename``, ``error`` and ``detail``; ``error`` is one of
            ``UNANSWERED`` from where the service has stopped to answer, and ``UNREADABLE`` where a photo has a problem.

        Raises:
            PageError: If the service answers nothing at all.
        """
        answers = self._in_portions([photo for photo in photos if not photo.problem])
        for photo in photos:
            unreadable = {"filename": photo.name, "error": UNREADABLE, "detail": photo.problem}
            yield unreadable if photo.problem else next(answers)

    def _in_portions(self, photos: Sequence[Photo]) -> Iterator[Answer]:
        stopped: BusyError | None = None
        for number, part in enumerate(portions(photos)):
            if stopped is None:
                try:
                    yield from self._together(part)
                    continue
                except BusyError as error:
                    if number == 0:
                        raise
                    stopped = error
            unanswered = {"error": "service_unavailable", "detail": str(stopped)}
            yield from ({"filename": photo.name, **unanswered} for photo in part)

    def _together(self, photos: Sequence[Photo]) -> list[Answer]:
        files = [("files", (photo.name, photo.content)) for photo in photos]
        answers: list[Answer] = self._checked("POST", "/predict/batch", files=files)["results"]
        return answers

    def tell(self, photo: Photo, truth: str, note: str = "") -> str:
        """Tells the review what a photo really is.

        Args:
            photo: The file; only its checksum is sent.
            truth: ``real`` or ``ai_generated``.
            note: Why.

        Returns:
            What became of it: the status that the gateway answers.

        Raises:
            PageError: If it was not taken; its message says why.
        """
        digest = hashlib.sha256(photo.content).hexdigest()
        told = self._checked("POST", "/feedback", json={"sha256": digest, "truth": truth, "note": note})
        return f"{told.get('status', '')}"

    def health(self) -> Answer:
        """Returns what the service says of itself.

        ``status`` is ``away`` where it does not answer; ``feedback`` is whether this page may tell it of mistakes.
        """
        try:
            answer: Answer = parse(self._http.get("/health", timeout=_BRIEF_S).content)
        except (httpx.HTTPError, ValueError):
            answer = {}
        known = isinstance(answer, dict) and _HEALTH.keys() <= answer.keys()  # or something else answers there
        return answer if known else {**_HEALTH}

    def _checked(self, method: str, route: str, **content: Any) -> Answer:
        until = time.monotonic() + _AGAIN_S
        while True:
            try:
                return self._asked(method, route, **content)
            except AwayError:
                raise
            except BusyError:
                if time.monotonic() + _PAUSE_S > until:
                    raise
            time.sleep(_PAUSE_S)

    def _asked(self, method: str, route: str, **content: Any) -> Answer:
        try:
            answer = self._http.request(method, route, **content)
            body: Answer = parse(answer.content)
        except httpx.TimeoutException as error:
            raise AwayError("The service did not answer in time. Please try again, or with fewer photos.") from error
        except (httpx.HTTPError, ValueError) as error:
            raise AwayError("The service is away at the moment. Please try again in a minute.") from error
        if not isinstance(body, dict):
            raise AwayError("What answers is not the service. Please tell whoever runs this page.")
        if answer.is_success:
            return body
        kind = BusyError if answer.status_code == 429 or answer.status_code >= 500 else PageError
        raise kind(sentence(answer.status_code, str(body.get("detail", ""))))


def require_address(url: str) -> None:
    """Refuses what cannot be the address of a gateway.

    Raises:
        UsageError: Naming the address.
    """
    if split_address(url, "http", "https") is None:
        raise UsageError(f"{url!r} is not the address of a gateway; write http://host:port or https://host")


def sentence(status: int, detail: str) -> str:
    """Words a refusal for a person.

    Args:
        status: The answer's status.
        detail: The gateway's own words.
    """
    if status == 401:
        return "This page is not allowed to ask the service: its API key is missing or wrong."
    if status == 403:
        return "This page may not send feedback: its API key is not among those that may."
    if status == 429:
        return "Too many photos in a short time. Please wait a minute."
    if status >= 500:
        return "The service is busy or away at the moment. Please try again in a minute."
    return f"This file could not be judged: {detail}."


def portions(photos: Sequence[Photo]) -> Iterator[list[Photo]]:
    """Cuts many photos into what one request may hold.

    Args:
        photos: The files.

    Yields:
        Some of them, in order.
    """
    part: list[Photo] = []
    size = 0
    for photo in photos:
        if part and (len(part) == MOST_FILES or size + len(photo.content) > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(photo)
        size += len(photo.content)
    if part:
        yield part
