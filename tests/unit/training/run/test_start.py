"""What a run refuses before anything slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from veriphoto.errors import DataError, UsageError
from veriphoto_training.run.start import run_training


def test_noise_is_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frozen_stages=0"):
        run_training(data=tmp_path, recipe_name="product", output=tmp_path / "run", weights="none")


@pytest.mark.parametrize(
    ("weights", "start"),
    [
        ("none", "random weights"),
        ("REPOSITORY/classifier", "the published version REPOSITORY/classifier/1"),
        ("REPOSITORY/classifier/1", "the published version REPOSITORY/classifier/1"),
    ],
)
def test_what_a_run_starts_from_is_said_before_the_data_are_read(
    weights: str, start: str, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, start = (text.replace("REPOSITORY", str(repository)) for text in (weights, start))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        run_training(data=tmp_path / "empty", recipe_name="smoke", output=tmp_path / "run", weights=weights)
    assert capsys.readouterr().err == f"starting from {start}\n"
