"""Golden pictures: Triton must score them as offline scoring does before a version becomes the champion.

A server runs whichever accepted variant is fastest on its machine, so its answers must all be those of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veriphoto.errors import ModelError
from veriphoto.preprocessing import preprocess
from veriphoto.variants import Variant
from veriphoto_export.runners import available, open_variant
from veriphoto_export.variant_files import MeasuredVariants
from veriphoto_release.candidate import Candidate, golden_scores
from veriphoto_release.triton import Triton

ELSEWHERE = "a variant that cannot run here"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Offline scores of the golden pictures."""

    scores: dict[str, dict[Path, float]]
    """By variant, fp32 first; the accepted ones that this machine can run."""
    slack: float = 0.0
    """How far from fp32 the accepted variants that only other machines can run were measured to be."""


def expect(candidate: Candidate, variants: MeasuredVariants | None, pictures: Sequence[Path]) -> Expected:
    """Scores the golden pictures offline.

    Args:
        candidate: The model.
        variants: Its measured variants.
        pictures: Their files; those that cannot be scored are left out.

    Returns:
        The scores that Triton may answer with.

    Raises:
        ModelError: If no picture can be scored.
    """
    scores: dict[str, dict[Path, float]] = {Variant.FP32.value: golden_scores(candidate, pictures)}
    if variants is None:
        return Expected(scores=scores)
    here = available()
    runnable = [name for name in variants.accepted if name in here]
    for name in runnable:
        if name is not Variant.FP32:
            run = open_variant(name, variants.home)
            scores[name.value] = {
                path: float(run(preprocess(path.read_bytes()).crops[np.newaxis])[0]) for path in scores[Variant.FP32]
            }
    others = [name for name in variants.accepted if name not in runnable]
    return Expected(scores=scores, slack=variants.largest_difference(others))


def require(triton: Triton, version: int, expected: Expected, tolerance: float) -> str:
    """Compares Triton's answers with the offline scores.

    Args:
        triton: The server.
        version: Version that must answer.
        expected: The offline scores.
        tolerance: Largest difference in probability that passes.

    Returns:
        The variant that the server runs.

    Raises:
        ModelError: If another version answers, or the answers are those of no accepted variant.
    """
    found = {}
    for path in expected.scores[Variant.FP32]:
        answer = triton.score(path.read_bytes())
        if answer.version != version:
            raise ModelError(f"Triton answers with version {answer.version}, not {version}")
        found[path] = answer.probability
    worst = {name: _worst(found, scores) for name, scores in expected.scores.items()}
    name = min(worst, key=lambda name: round(worst[name][0], 5))  # FP32 twice is the first, not the luckier
    if worst[name][0] <= tolerance:
        return name
    distance, path = worst[Variant.FP32]
    if expected.slack and distance <= tolerance + expected.slack:
        return ELSEWHERE
    raise ModelError(
        f"{path.name} scores {found[path]:.6f} through Triton and {expected.scores[Variant.FP32][path]:.6f} offline "
        f"(tolerance {tolerance:g})"
    )


def _worst(found: dict[Path, float], scores: dict[Path, float]) -> tuple[float, Path]:
    differences = {path: abs(value - scores[path]) for path, value in found.items()}
    # Not a number is the worst there is.
    path = max(differences, key=lambda path: (not differences[path] >= 0, differences[path]))
    return (float("inf") if not differences[path] >= 0 else differences[path]), path
