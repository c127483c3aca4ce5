"""Records drawn from a made-up world, whose shifts are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from veriphoto.contract import CONTRACT
from veriphoto.prediction_log.record import Record, segment_name
from veriphoto_monitoring.input.features import to_rows
from veriphoto_monitoring.stats.distributions import Reference, from_rows

VERSION = 1
BEGIN = 1_760_000_000.0


def draw(
    count: int,
    seed: int,
    *,
    ai_share: float = 0.1,
    raised: float = 0.0,
    blockier: float = 0.0,
    version: int = VERSION,
    begin: float = BEGIN,
    prefix: str = "request",
) -> list[Record]:
    """Draws pictures, one each second; AI-generated ones are sharper, so that their share shows in the input too."""
    rng = np.random.default_rng(seed)
    ai = rng.random(count) < ai_share
    logit = np.where(ai, rng.normal(2.0, 1.5, count), rng.normal(-3.0, 1.2, count) + raised)
    values = {
        "width": rng.choice([400.0, 800.0, 1024.0], count),
        "height": rng.choice([300.0, 600.0], count),
        "bytes": np.round(rng.lognormal(11.0, 0.5, count)),
        "format": (rng.random(count) < 0.05).astype(float),
        "jpeg_quality": rng.choice([75.0, 90.0, 95.0], count),
        "brightness": rng.normal(130.0, 30.0, count),
        "contrast": rng.normal(50.0, 10.0, count),
        "saturation": rng.normal(40.0, 12.0, count),
        "sharpness": rng.normal(0.3, 0.05, count) + np.where(ai, 0.2, 0.0),
        "blockiness": rng.normal(1.1, 0.1, count) + np.where(rng.random(count) < blockier, 0.2, 0.0),
    }
    # Calibrated at a share of 0.1: Bayes' rule for the two normal distributions.
    likelihood = np.exp(-0.5 * ((logit - 2.0) / 1.5) ** 2) / 1.5, np.exp(-0.5 * ((logit + 3.0) / 1.2) ** 2) / 1.2
    probability = 0.1 * likelihood[0] / (0.1 * likelihood[0] + 0.9 * likelihood[1])
    return [
        Record(
            time=begin + i,
            request_id=f"{prefix}-{i}",
            model_version=version,
            logit=float(logit[i]),
            probability=float(probability[i]),
            verdict="ai_generated" if probability[i] >= 0.6 else "unsure" if probability[i] >= 0.4 else "real",
            statistics=tuple(float(values[name][i]) for name in CONTRACT.statistics),
        )
        for i in range(count)
    ]


def reference(count: int = 10_000, seed: int = 999) -> Reference:
    """Makes the reference of a healthy period."""
    records = draw(count, seed)
    return from_rows(to_rows(records), np.array([record.time for record in records]), VERSION, 0.1)


def as_probe(record: Record) -> Record:
    """Returns the record as a canary's."""
    return replace(record, request_id=f"probe-{record.request_id}")


def write(directory: Path, records: list[Record], writer: str = "a", nanoseconds: int = 1) -> Path:
    """Appends records to a segment."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / segment_name(writer, nanoseconds)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(record.to_line() for record in records)
    return path
