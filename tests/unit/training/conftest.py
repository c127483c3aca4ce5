from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from brightness_model import brightness_findings, brightness_repository
from training_pictures import encoded, textured, write_files

from veriphoto.manifest import Findings
from veriphoto_training.data.dataset import Picture


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Eight noisy 'real' and eight smooth 'ai' pictures, in two sources each."""
    root = tmp_path / "tree"
    for label in ("real", "ai"):
        for number in range(8):
            file = root / label / f"source{number % 2}" / f"{number:02}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(textured(number, smooth=label == "ai"), quality=90))
    return root


@pytest.fixture
def picture(tmp_path: Path) -> Callable[..., Picture]:
    def make(path: str, label: int = 0, *, source: str = "shop", generator: str = "", group: str = "") -> Picture:
        return Picture(
            path=path, label=label, source=source, generator=generator, group=group or path, file=tmp_path / path
        )

    return make


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes a data set: name under real/ or ai/ to bytes."""

    def write(files: dict[str, bytes], name: str = "data") -> Path:
        return write_files(tmp_path / name, files)

    return write


@pytest.fixture(scope="session")
def findings() -> Findings:
    return brightness_findings()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return brightness_repository(tmp_path)
