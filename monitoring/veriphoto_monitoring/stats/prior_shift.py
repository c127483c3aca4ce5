"""Tells a moved share of AI-generated pictures (prior shift) from pictures that look different (input shift).

If only the share moves, the AI-generated pictures still look as AI-generated pictures did, and the real ones as real
ones did: every distribution of the window is then the same mixture of the reference's two parts. The parts are known
without labels because the probability is calibrated: a picture belongs to the AI part by its probability. The new
share is estimated from the window's scores (see ``prior``), the reference is mixed anew with it, and what still differs
is not explained by the share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from veriphoto_monitoring.input.features import MONITORED, Floats, Monitored, column
from veriphoto_monitoring.stats.distributions import Categories, Distribution, Numbers, Reference
from veriphoto_monitoring.stats.prior import estimate_share
from veriphoto_monitoring.stats.testing import examine, summarise

Cause = Literal["prior", "score", "input", "unknown"]

UNEXPLAINED: Final = 0.001
"""Below this p-value, the share alone does not explain a difference."""
_SCORE: Final = next(one for one in MONITORED if one.name == "score")


@dataclass(frozen=True, slots=True)
class Share:
    """The share of AI-generated pictures, estimated from the scores."""

    reference: float
    now: float
    size: float
    """How many pictures the mixed reference is worth."""


def estimate(reference: Reference, rows: Floats) -> Share | None:
    """Estimates the window's share.

    Args:
        reference: The reference.
        rows: The window's rows [N, WIDTH].

    Returns:
        The shares, or None where the reference does not know its own.
    """
    if reference.prior is None or reference.share is None:
        return None
    before, square, now = (
        reference.share,
        reference.square,
        estimate_share(column(rows, "probability"), reference.prior),
    )
    a, b = now / before, (1.0 - now) / (1.0 - before)
    spread = a * a * square + 2.0 * a * b * (before - square) + b * b * (1.0 - 2.0 * before + square)
    return Share(before, now, reference.images / spread)


def remix(found: Distribution, share: Share) -> Distribution | None:
    """Returns a distribution as it would be if only the share had moved; None where its parts are not known."""
    if isinstance(found, Numbers) and found.ai is not None:
        function = _mix(found.lower, found.ai, share)
        return replace(found, lower=function, upper=function, size=int(share.size))
    if isinstance(found, Categories) and found.ai is not None:
        shares = _mix(found.counts / found.counts.sum(), found.ai / max(found.ai.sum(), 1e-12), share)
        return replace(found, counts=np.maximum(shares, 0.0) * share.size, size=int(share.size))
    return None


def cause(each: Monitored, reference: Reference, rows: Floats, share: Share | None) -> Cause:
    """Says what is behind the difference of one statistic.

    Args:
        each: The statistic that differs. All that the model answers is judged by the scores' whole distribution: counts
            of verdicts and a mean have too little shape to contradict a new share.
        reference: The reference distribution.
        rows: [N, WIDTH] of the window.
        share: As ``estimate`` found it there.

    Returns:
        ``prior`` where the new share explains it, else what moved; ``unknown`` where that cannot be told.
    """
    looked = each if each.of_input else _SCORE
    found = reference.distributions.get(looked.name)
    mixed = remix(found, share) if share and found else None
    if mixed is None:
        return "unknown"
    if float(examine(mixed, summarise(mixed, rows[:, looked.index]), len(rows)).p) >= UNEXPLAINED:
        return "prior"
    return "input" if each.of_input else "score"


def _mix(function: Floats, ai: Floats, share: Share) -> Floats:
    real = (function - share.reference * ai) / (1.0 - share.reference)
    return np.asarray(share.now * ai + (1.0 - share.now) * real)
