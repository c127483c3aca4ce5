"""What calibration wants, and which product photos set the threshold."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from veriphoto.errors import DataError
from veriphoto.verdict import OperatingPoint
from veriphoto_training.data.dataset import Picture
from veriphoto_training.run.finish import CalibrationSet
from veriphoto_training.run.start import cautions, run_training

SAMPLE = Path(__file__).parents[4] / "samples" / "real_boots.jpg"


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


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (pictures("shoes", 2), r"2 real photos \(2 of them product photos\) and 0 AI"),
        (pictures("fakes", 3, label=1), r"0 real photos \(0 of them product photos\) and 3 AI"),
        (pictures("landscapes", 4) + pictures("fakes", 3, label=1), r"4 real photos \(0 of them product photos\)"),
        ((), "0 AI"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused(seen: tuple[Picture, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        CalibrationSet(seen=seen, product_sources=("shoes",)).require_both()


def test_cuts_of_few_photos_are_cautioned_against() -> None:
    point = OperatingPoint(
        model_version=0, threshold=0.8, unsure_low=0.7, unsure_high=0.9, min_side=96.0, max_blockiness=50.0
    )
    assert cautions(point, 300) == []
    few, empty = cautions(replace(point, unsure_low=0.8, unsure_high=0.8), 40)
    assert "rests on 40 real product photos" in few
    assert "veriphoto calibrate --real DIR, and start the server again" in few
    assert "band is empty" in empty
    assert "--calibrate-holdout" in empty


def test_a_set_that_is_too_small_is_noticed_before_training(tmp_path: Path) -> None:
    for label in ("real", "ai"):
        (tmp_path / "few" / label).mkdir(parents=True)
        for number in range(6):
            shutil.copy(SAMPLE, tmp_path / "few" / label / f"{number}.jpg")
    with pytest.raises(DataError, match="are kept out of training, and calibration needs some of each"):
        run_training(
            data=tmp_path / "few",
            recipe_name="smoke",
            output=tmp_path / "run",
            weights="none",
            changes=["validation_share=0.001"],
            tracking=False,
        )
    assert not (tmp_path / "run").exists()
