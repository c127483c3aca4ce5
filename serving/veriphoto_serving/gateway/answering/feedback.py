"""Where truths about pictures go: to whatever is installed under the entry point, the review package as it comes."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Final, Protocol, cast

from veriphoto.errors import MissingExtraError

GROUP: Final = "veriphoto.feedback"


class Receipt(Protocol):
    """What became of a truth."""

    @property
    def status(self) -> str:
        """``decided``, ``reported``, ``unchanged``, ``kept`` or ``waiting``."""

    @property
    def cases(self) -> int:
        """How many cases it is about."""


class FeedbackDesk(Protocol):
    """Takes truths; may block on its database."""

    def take(self, *, kind: str, value: str, truth: str, note: str, actor: str) -> Receipt:
        """Takes one, each once. What ``ANONYMOUS`` tells decides nothing.

        Raises:
            DatabaseError: If its database refuses; nothing has changed then.
        """


def open_desk(url: str) -> FeedbackDesk:
    """Opens the desk at a database.

    Args:
        url: URL of the review database.

    Raises:
        MissingExtraError: If nothing that takes truths is installed.
        DatabaseError: If the database cannot be used.
    """
    found = next(iter(entry_points(group=GROUP)), None)
    if found is None:
        raise MissingExtraError("review")
    try:
        opening = found.load()
    except ModuleNotFoundError as error:
        raise MissingExtraError("review", error.name) from error
    return cast(FeedbackDesk, opening(url))
