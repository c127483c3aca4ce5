"""Which product photos set the threshold."""

from __future__ import annotations

from pathlib import Path

from veriphoto_training.data.dataset import Picture
from veriphoto_training.run.finish import CalibrationSet


def pictures(source: str, count: int, label: int = 0) -> tuple[Picture, ...]:
    return tuple(
        Picture(path=f"{source}/{i}", label=label, source=source, generator="", group=str(i), file=Path("none"))
        for i in range(count)
    )


def test_enough_unseen_products_also_decide_alone() -> None:
    chosen = CalibrationSet(
        seen=pictures("shoes", 300),
        unseen=pictures("bottles", 149) + pictures("landscapes", 50) + pictures("fakes", 20, label=1),
        product_sources=("shoes", "bottles", "fakes"),
    )
    both, unseen = chosen.for_threshold()
    assert unseen == {f"bottles/{i}" for i in range(149)}
    assert both == unseen | {f"shoes/{i}" for i in range(300)}
    assert len(chosen.pictures) == 519


def test_with_too_few_the_seen_ones_help() -> None:
    chosen = CalibrationSet(seen=pictures("shoes", 300), unseen=pictures("bottles", 148))
    assert [len(photos) for photos in chosen.for_threshold()] == [448]


def test_without_a_holdout_the_seen_ones_decide() -> None:
    assert [len(photos) for photos in CalibrationSet(seen=pictures("shoes", 5)).for_threshold()] == [5]
