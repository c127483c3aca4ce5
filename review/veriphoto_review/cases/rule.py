"""What becomes a case, the same on every machine and at every import: chance is drawn by hash."""

from __future__ import annotations

import hashlib

from veriphoto_review.cases.case import Why


def draw(subject: str) -> float:
    """Maps a picture to 0..1.

    Args:
        subject: Its sha256, or its reference where that is not known: copies of a picture are drawn together.
    """
    return (
        int.from_bytes(hashlib.blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big") / 2**64
    )


def becomes(verdict: str, drawn: float, audit_share: float) -> Why | None:
    """Decides whether an answer becomes a case.

    Args:
        verdict: The model's.
        drawn: The picture's draw.
        audit_share: Share of the rest.

    Returns:
        Why it does, or None.
    """
    if verdict == "ai_generated":
        return Why.FLAGGED
    if verdict == "unsure":
        return Why.UNSURE
    return Why.AUDIT if drawn < audit_share else None
