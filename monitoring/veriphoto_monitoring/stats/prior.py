"""The share of AI-generated pictures that a set of scores speaks for, without labels.

A probability is calibrated at some share of AI-generated pictures, its prior. Where traffic has another share, and the
pictures of each class look as they did, Bayes' rule gives the probability there, and the share is the one at which the
probabilities agree with it: the EM of Saerens, Latinne and Decaestecker (2002).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from veriphoto_monitoring.input.features import Floats

_ROUNDS: Final = 500
_STILL: Final = 1e-6
_LEAST: Final = 1e-4


def rebase(probabilities: Floats, prior: float, share: float) -> Floats:
    """Returns the probabilities as they are at another share.

    Args:
        probabilities: [N] calibrated at ``prior``.
        prior: 0..1, exclusive.
        share: 0..1.
    """
    ai = probabilities * (share / prior)
    real = (1.0 - probabilities) * ((1.0 - share) / (1.0 - prior))
    return np.asarray(ai / (ai + real))


def estimate_share(probabilities: Floats, prior: float) -> float:
    """Estimates the share of AI-generated pictures.

    Args:
        probabilities: [N] calibrated at ``prior``.
        prior: 0..1, exclusive.

    Returns:
        The share, kept away from 0 and 1.
    """
    now = prior
    for _ in range(_ROUNDS):
        then, now = now, float(np.clip(rebase(probabilities, prior, now).mean(), _LEAST, 1.0 - _LEAST))
        if abs(then - now) < _STILL:
            break
    return now
