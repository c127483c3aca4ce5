"""Downloads CIFAKE: 60,000 CIFAR-10 photographs and 60,000 pictures by Stable Diffusion 1.4, 32 px.

Bird and Lotfi, "CIFAKE: Image Classification and Explainable Identification of AI-Generated Synthetic Images", IEEE
Access 2024 (arXiv 2303.14126); its authors publish it on Kaggle.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from veriphoto.errors import DataError, MissingExtraError, UsageError
from veriphoto_training.data.dataset import fraction

HANDLE: Final = "birdy654/cifake-real-and-ai-generated-synthetic-images"
_CLASSES: Final = {"REAL": "real", "FAKE": "ai"}
_PARTS: Final = ("train", "test")


def download() -> Path:
    """Downloads the set into Kaggle's own cache, or finds it there.

    Returns:
        The folder that holds ``train`` and ``test``.

    Raises:
        MissingExtraError: If kagglehub is not installed.
        DataError: If Kaggle does not give it.
    """
    try:
        import kagglehub  # noqa: PLC0415 - of an extra
    except ImportError as error:
        raise MissingExtraError("data", error.name) from error
    try:
        return Path(kagglehub.dataset_download(HANDLE))
    except Exception as error:  # kagglehub lets through what requests, zipfile and the disk raise
        raise DataError(
            f"CIFAKE could not be had from Kaggle ({type(error).__name__}): check the network, or download "
            f"https://www.kaggle.com/datasets/{HANDLE} elsewhere, unpack it and name the folder with --source"
        ) from error


def arrange(source: Path, output: Path, max_per_class: int | None = None) -> dict[str, int]:
    """Copies the set into the folders that training reads: ``train`` and ``test``, each with ``real`` and ``ai``.

    Args:
        source: Folder with ``train/REAL``, ``train/FAKE``, ``test/REAL`` and ``test/FAKE``.
        output: Folder to create; it appears complete or not at all.
        max_per_class: Pictures of each class in each part, chosen by hash: a larger number includes the smaller choice.

    Returns:
        Number of pictures by ``part/class``.

    Raises:
        UsageError: If the output exists.
        DataError: If the source is not CIFAKE.
    """
    if output.exists():
        raise UsageError(f"{output} exists; name a folder that does not, or remove it")
    chosen = {
        f"{part}/{name}": _choose(source / part / folder, max_per_class)
        for part in _PARTS
        for folder, name in _CLASSES.items()
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        for place, files in chosen.items():
            _copy(files, staged / place)
        staged.chmod(0o755)  # mkdtemp's 0700 would hide the data from other users
        staged.rename(output)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return {place: len(files) for place, files in chosen.items()}


def _choose(folder: Path, maximum: int | None) -> list[Path]:
    files = [file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".png")] if folder.is_dir() else []
    if not files:
        raise DataError(
            f"{folder} holds no pictures; expected CIFAKE with train/REAL, train/FAKE, test/REAL, test/FAKE"
        )
    return sorted(files, key=lambda file: fraction(file.name))[:maximum]


def _copy(files: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f"{number:05d}{file.suffix.lower()}")
