"""A case: one answer of the model that a person should look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row

REAL_SHARE: Final = "real_photos_this_high"
"""Field of the gateway's answers and of scans, which a case keeps among its extra ones."""


class State(StrEnum):
    """Where a case stands. ``confirmed`` and ``overturned`` compare the truth with the model's side of its cut."""

    OPEN = "open"
    CONFIRMED = "confirmed"
    OVERTURNED = "overturned"
    UNDECIDED = "undecided"


class Why(StrEnum):
    """Why an answer became a case."""

    FLAGGED = "flagged"
    UNSURE = "unsure"
    AUDIT = "audit"
    """Drawn at random from what was called real: the only way to learn what is missed."""
    FEEDBACK = "feedback"


class Truth(StrEnum):
    """What a person found."""

    REAL = "real"
    AI = "ai_generated"
    UNKNOWN = ""
    """A person looked and cannot tell; also a case that is open."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One row of ``cases``."""

    id: int
    reference: str
    """Where the picture lies, a path or URI, or the operator's own name for it."""
    sha256: str
    request_id: str
    shop: str
    seller: str
    verdict: str
    prediction: str
    """The side of the cut that the probability falls on."""
    probability: float
    confidence: str
    reason: str
    """The model's reason where the verdict is ``unsure``."""
    model_version: int
    threshold: float | None
    unsure_low: float | None
    unsure_high: float | None
    evidence: str
    """Where an evidence map lies, where the operator keeps them."""
    provenance: Mapping[str, Any] | None
    extra: Mapping[str, Any] | None
    """Fields of the imported row that we do not know, and its ``path`` where ``reference`` is a name of its own."""
    picture: str
    """Our own copy, only with ``--keep-pictures``."""
    why: str
    draw: float
    """0..1 by hash: cases in this order are a random sample."""
    month: str
    seen_at: float
    created_at: float
    state: str
    truth: str
    channel: str
    """Where the decision came from."""
    reviewer: str
    note: str
    decided_at: float | None

    @property
    def real_share(self) -> float | None:
        """Share of real product photos that score this high, 0 to 1; None where the row says none that could be."""
        value = (self.extra or {}).get(REAL_SHARE)
        return float(value) if isinstance(value, int | float) and 0.0 <= value <= 1.0 else None

    @classmethod
    def of(cls, row: Row[Any]) -> Case:
        """Makes a case of a row of the table."""
        return cls(**{each.name: getattr(row, each.name) for each in fields(cls)})


def state_of(truth: Truth, prediction: str) -> State:
    """Returns the state that a decision brings a case into.

    Args:
        truth: What the person found.
        prediction: The model's side of the cut.
    """
    if truth is Truth.UNKNOWN:
        return State.UNDECIDED
    return State.CONFIRMED if truth == prediction else State.OVERTURNED
