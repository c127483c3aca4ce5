"""Finds the references: the baseline that the user made, and those in the manifests of model versions."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from veriphoto.contract import CLASSIFIER, ENCODER
from veriphoto.errors import DataError, ModelError
from veriphoto.manifest import MANIFEST_FILE, Manifest, read_manifest
from veriphoto.opinions import EncoderPackage, fitting
from veriphoto.second_opinion import ENCODER_FILE, MODE_VARIABLE, OPINION_FILE, Mode, SecondOpinion
from veriphoto_monitoring.reference.validation import from_manifest
from veriphoto_monitoring.stats.distributions import Reference, from_json

BASELINE: Final = "baseline.json"

_log = logging.getLogger(__name__)


class Sources:
    """The references, by model version."""

    def __init__(self, baseline: Path, model_repository: Path) -> None:
        """Loads nothing yet.

        Args:
            baseline: The file that ``veriphoto drift baseline`` writes; it need not exist.
            model_repository: Holds ``classifier/<version>/manifest.json``; it need not exist.
        """
        self._baseline = baseline
        self._classifier = model_repository / CLASSIFIER
        self._encoder = model_repository / ENCODER / "1"
        self._stamps = self._look()
        self._known: dict[int, Reference | None] = {}

    def changed(self) -> bool:
        """Returns whether a file has changed since the last call."""
        stamps, self._stamps = self._stamps, self._look()
        if stamps == self._stamps:
            return False
        self._known.clear()
        return True

    def reference(self, version: int) -> Reference | None:
        """Returns the reference that a version's windows are tested against.

        The baseline; for another version than the baseline's, its part about the pictures, and the scores of the
        version's own manifest. Without a baseline, the manifest.
        """
        if version not in self._known:
            self._known[version] = self._find(version)
        return self._known[version]

    def _find(self, version: int) -> Reference | None:
        manifest = self._manifest(version)
        own = None
        if manifest:
            # With the second opinion, scores and cuts differ from those of the classifier alone.
            joint = self._opinion(version)
            answers = manifest.findings.drift_reference if joint is None else joint.drift_reference
            own = from_manifest(answers, version)
        baseline = self._read()
        if baseline is None:
            return own if own and own.distributions else None
        chosen = baseline.for_version(version)
        return chosen if chosen is baseline or own is None else chosen.filled_from(own)

    def _opinion(self, version: int) -> SecondOpinion | None:
        """Returns the second opinion that a server with these files asks, if it asks one."""
        mode = Mode.OFF if os.environ.get(MODE_VARIABLE) == Mode.OFF else Mode.AUTO
        package = EncoderPackage.read(self._encoder, mode)
        return fitting(self._classifier / str(version), package.encoder, version) if package else None

    def _read(self) -> Reference | None:
        try:
            return from_json(json.loads(self._baseline.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, DataError) as error:
            _log.warning("%s cannot be used: %s", self._baseline, error)
            return None

    def _manifest(self, version: int) -> Manifest | None:
        try:
            return read_manifest(self._classifier / str(version))
        except ModelError as error:
            _log.warning("no reference of version %d: %s", version, error)
            return None

    def _look(self) -> dict[Path, tuple[int, int]]:
        files = [self._baseline, self._encoder / ENCODER_FILE]
        with suppress(OSError):
            for name in (MANIFEST_FILE, OPINION_FILE):
                files += self._classifier.glob(f"*/{name}")
        stamps = {}
        for file in files:
            try:
                found = file.stat()
            except OSError:
                continue
            stamps[file] = (found.st_mtime_ns, found.st_size)
        return stamps
