"""The page's words for an answer; the review desk uses the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from veriphoto.verdict import frequency

WORDS: Final = {
    "real": "No sign of AI generation found",
    "ai_generated": "Probably made by an AI generator",
    "unsure": "Unsure",
}
REASONS: Final = {
    "borderline": "the score is neither low enough to clear the photo nor high enough to flag it",
    "too_small": "the photo is too small to judge",
    "too_degraded": "the photo is compressed too much to judge",
    "": "",
}
UNJUDGED: Final = frozenset({"too_small", "too_degraded"})
"""Reasons for which no score counts, so that neither a probability nor a map is shown."""
_FAR: Final = {"high": "far", "medium": "clearly", "low": "just"}
_ORDINARY: Final = 0.1
_UNUSUAL: Final = 0.01
_THANKS: Final = {
    "decided": "Thank you. The photo's case is now decided as you say.",
    "unchanged": "Thank you. The review had this answer already.",
    "kept": "Thank you. A reviewer has decided otherwise, and that stays.",
    "waiting": "Thank you. The photo has no case yet; your answer is kept for it.",
    "reported": "Thank you. The photo now waits for a reviewer.",
}


def likelihood(probability: float) -> str:
    """Words an estimated probability: never as certain as 0 or 100 per cent."""
    if probability > 0.999:
        return "over 99.9\N{NO-BREAK SPACE}%"
    if probability < 0.001:
        return "under 0.1\N{NO-BREAK SPACE}%"
    return f"{100 * probability:.1f}\N{NO-BREAK SPACE}%"


def standing(answer: Mapping[str, Any]) -> str:
    """Says how far beyond its limit a score lies; empty where the answer is unsure.

    Args:
        answer: The gateway's answer about a photo.
    """
    low, high = answer["unsure_band"]
    side = {"ai_generated": f"above the limit of {likelihood(high)}", "real": f"below the limit of {likelihood(low)}"}
    return f"{_FAR[answer['confidence']]} {side[answer['verdict']]}" if answer["verdict"] in side else ""


def rarity(share: float) -> str:
    """Says how often real product photos score so high, and what that means.

    Args:
        share: Share of real product photos that score as high as this one or higher, 0 to 1.
    """
    kind = "an ordinary" if share >= _ORDINARY else "an unusual" if share >= _UNUSUAL else "a rare"
    said = frequency(share)
    return f"{said[:1].upper()}{said[1:]}: {kind} score for a real photo."


def worded(answer: Mapping[str, Any]) -> str:
    """Words what became of a photo, in one line.

    Args:
        answer: As the gateway words it, good or bad.
    """
    if "verdict" not in answer:
        return f"Not judged: {answer.get('detail', '')}".rstrip(": ")
    reason = REASONS[answer.get("reason", "")]
    return WORDS[answer["verdict"]] + (f": {reason}" if reason else "")


def thanks(status: str) -> str:
    """Words what became of a reader's answer, by the status that the gateway gives it."""
    return _THANKS.get(status, "Thank you. The review has been told.")


def plain(text: str) -> str:
    """Escapes what Streamlit would take for Markdown."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$~:.&-])", r"\\\1", text)
