"""Says in one line how good the serving version is, from the figures that its fit wrote beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER
from veriphoto.errors import ModelError
from veriphoto.manifest import read_manifest
from veriphoto.second_opinion import read_opinion

_FOUND: Final = "_found_product"
_FLAGGED: Final = "_false_alarms_product"


def rate_line(repository: Path, version: int, *, opinion: bool) -> str:
    """Describes how many fakes a version finds and how many real photos it flags.

    Of several deliveries (as published, recompressed), the worst counts.

    Args:
        repository: The model repository.
        version: The version that answered.
        opinion: Whether its second opinion is asked.

    Returns:
        One or two sentences; empty where the version is not on this disk or says nothing about itself.
    """
    directory = repository / CLASSIFIER / str(version)
    try:
        metrics = read_manifest(directory).findings.metrics
        second = read_opinion(directory) if opinion else None
    except ModelError:
        return ""
    line = _of_unseen(second.metrics) if second else _of_seen(metrics)
    if line and "shop_rate" in metrics:
        line += (
            f" That was before it was calibrated on your own photos, of which {_in_hundred(metrics['shop_rate'])} "
            "may be flagged now."
        )
    return line


def _of_unseen(metrics: Mapping[str, float]) -> str:
    found, flagged = _worst(metrics, _FOUND, min), _worst(metrics, _FLAGGED, max)
    if found is None or flagged is None:
        return ""
    return (
        f"Measured: it finds about {10 * found:.0f} in 10 AI product photos from sources it never saw; "
        f"{_in_hundred(flagged)} real product photos are flagged."
    )


def _of_seen(metrics: Mapping[str, float]) -> str:
    found, flagged = _worst(metrics, "_tpr", min), _worst(metrics, "_fpr", max)
    if found is None or flagged is None:
        return ""
    return (
        f"Measured without a second opinion, on generators it was trained on: it finds about {10 * found:.0f} in 10 "
        f"AI photos, far fewer of others; {_in_hundred(flagged)} real photos are flagged. make encoder fetches the "
        "second opinion."
    )


def _worst(metrics: Mapping[str, float], ending: str, choose: Callable[[list[float]], float]) -> float | None:
    values = [value for name, value in metrics.items() if name.endswith(ending)]
    return choose(values) if values else None


def _in_hundred(share: float) -> str:
    return f"{100 * share:.0f} in 100" if share >= 0.005 else "fewer than 1 in 100"
