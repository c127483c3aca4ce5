"""What a run refuses before anything slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from veriphoto.errors import UsageError
from veriphoto_training.run.start import run_training


def test_noise_is_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="frozen_stages=0"):
        run_training(data=tmp_path, recipe_name="product", output=tmp_path / "run", weights="none")
