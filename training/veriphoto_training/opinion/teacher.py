"""What the second opinion teaches a classifier: its score of every training photo, and what it sees in it.

Scores come from probes that were fitted without the photo's source (``probe.out_of_source``): a teacher that has seen a
photo's source answers with its label, which the classifier knows already.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from veriphoto.contract import ENCODER
from veriphoto.errors import UsageError
from veriphoto.opinions import EncoderPackage
from veriphoto_training.data.dataset import Picture, read_dataset
from veriphoto_training.data.splits import matches
from veriphoto_training.opinion.looks import Looks, Track, look_at, open_looks
from veriphoto_training.opinion.probe import FOLDS, choose_settings, require_sources, source_weights

Floats = npt.NDArray[np.float32]

_MOST: Final = 256
"""Principal components of the encoder's features that are taught: the rest of its 2,304 hold mostly noise."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Targets of photos, by the sha256 of their bytes."""

    logits: Floats
    """[n]: calibrated logits of out-of-source probes."""
    features: Floats
    """[n, D]: principal components, each divided by the root of its deviation."""
    rows: dict[str, int]
    """sha256 to row."""

    @classmethod
    def of(cls, looks: Looks, scores: npt.NDArray[np.float64]) -> Self:
        """Makes targets.

        Args:
            looks: Photos as they are, with the encoder's features.
            scores: Their out-of-source scores [n].
        """
        from sklearn.decomposition import PCA  # noqa: PLC0415 - heavy, and of an extra
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

        weights = source_weights(looks.sources, looks.labels)
        scale = LogisticRegression(C=1e6).fit(scores[:, None], looks.labels, weights)
        logits = scale.decision_function(scores[:, None]).astype(np.float32)
        spread = looks.features.std(axis=0) + 1e-6
        scaled = (looks.features - looks.features.mean(axis=0)) / spread
        parts = PCA(min(_MOST, *scaled.shape), random_state=0).fit_transform(scaled)
        features = (parts / np.sqrt(parts.std(axis=0))).astype(np.float32)
        return cls(
            logits=logits,
            features=features,
            rows={picture.sha256: row for row, picture in enumerate(looks.pictures)},
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads what ``write`` wrote.

        Raises:
            UsageError: If the file is missing or another kind of file.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                names = file["sha256"].tolist()
                return cls(
                    logits=file["logits"],
                    features=file["features"].astype(np.float32),
                    rows={name: row for row, name in enumerate(names)},
                )
        except (OSError, KeyError, ValueError) as error:
            raise UsageError(f"{path} is not from 'veriphoto teacher': {error}") from error

    def write(self, path: Path) -> None:
        """Writes the targets."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(self.rows.values())  # copies of a photo share one
        with path.open("wb") as file:
            np.savez(
                file,
                sha256=np.array(list(self.rows)),
                logits=self.logits[rows],
                features=self.features[rows].astype(np.float16),
            )

    def known(self, pictures: list[Picture]) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        """Looks photos up.

        Args:
            pictures: N photos.

        Returns:
            Logits [N], features [N, D], and which photos the teacher knows [N]; zeros for the others.
        """
        rows = np.array([self.rows.get(picture.sha256, -1) for picture in pictures])
        known = rows >= 0
        logits = np.where(known, self.logits[rows], 0.0).astype(np.float32)
        features = np.where(known[:, None], self.features[rows], 0.0).astype(np.float32)
        return logits, features, known


def ask_encoder(data: Path, leave_out: Sequence[str], repository: Path, cache: Path, track: Track) -> Teacher:
    """Shows a data set to the encoder, and fits the probes whose answers are taught.

    Args:
        data: The data set.
        leave_out: Patterns of sources that it must not learn from, as those that judge the classifier.
        repository: The Triton model repository, which holds the encoder.
        cache: Directory for the features, by encoder.
        track: Shows progress.

    Returns:
        The targets.

    Raises:
        DataError: If the data cannot be used, or come from too few sources.
        ModelError: If there is no encoder.
    """
    encoder = EncoderPackage.require(repository / ENCODER / "1")
    pictures = [picture for picture in read_dataset(data).pictures if not matches([picture.source], leave_out)]
    opened = open_looks(None, encoder, os.cpu_count() or 1)
    clean = look_at(pictures, "clean", opened, cache / encoder.encoder.identity, track)
    require_sources(clean, FOLDS)
    _, (scores,) = choose_settings([clean])
    return Teacher.of(clean, scores)
