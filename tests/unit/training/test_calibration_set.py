"""Which product photos set the threshold."""

from __future__ import annotations

from pathlib import Path

from veriphoto_training.data import Picture
from veriphoto_training.finish import CalibrationSet


def pictures(source: str, count: int, label: int = 0) -> tuple[Picture, ...]:
    return tuple(
        Picture(path=f"{source}/{i}", label=label, source=source, generator="", group=str(i), file=Path("none"))
        for i in range(count)
    )


def test_enough_unseen_products_decide_alone() -> None:
    chosen = CalibrationSet(
        seen=pictures("shoes", 300),
        unseen=pictures("bottles", 149) + pictures("landscapes", 50) + pictures("fakes", 20, label=1),
        product_sources=("shoes", "bottles", "fakes"),
    )
    assert chosen.for_threshold() == {f"bottles/{i}" for i in range(149)}
    assert len(chosen.pictures) == 519


def test_with_too_few_the_seen_ones_help() -> None:
    chosen = CalibrationSet(seen=pictures("shoes", 300), unseen=pictures("bottles", 148))
    assert len(chosen.for_threshold()) == 448


def test_without_a_holdout_the_seen_ones_decide() -> None:
    assert len(CalibrationSet(seen=pictures("shoes", 5)).for_threshold()) == 5
