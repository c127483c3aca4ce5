"""FiftyOne: cases as a ``fiftyone.types.FiftyOneDataset`` on disk.

Of its two layouts this is the one without the image of FiftyOne's own database (``metadata.json`` without a version),
which every release reads: samples as FiftyOne serializes them, fields found by looking at them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from veriphoto.errors import ImageError, UsageError
from veriphoto.files import replace_bytes, replace_text
from veriphoto_review.cases.case import Case, State
from veriphoto_review.cases.pictures import read_picture
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.exchange.dataset import suffix_of

METADATA_FILE: Final = "metadata.json"
SAMPLES_FILE: Final = "samples.json"
_CLASSES: Final = ("real", "ai_generated", "unsure")
_CONFIDENCE: Final[dict[str, Callable[[float], float | None]]] = {
    "real": lambda probability: 1.0 - probability,
    "ai_generated": lambda probability: probability,
    "unsure": lambda _: None,
}
"""Confidence in the verdict, from the probability of AI."""


def write_dataset(store: CaseStore, target: Path, chosen: Filter) -> tuple[int, dict[int, str]]:
    """Writes cases and copies of their pictures.

    Args:
        store: Store that holds the cases.
        target: A folder that is empty, or that an earlier run has written; what is no longer chosen is removed.
        chosen: Filter that chooses the cases.

    Returns:
        How many samples there are, and why the pictures of the other cases could not be read.

    Raises:
        UsageError: If the folder holds something else, or cannot be written.
        DatabaseError: If the database refuses.
    """
    data = target / "data"
    if target.exists() and (not target.is_dir() or (any(target.iterdir()) and not (target / METADATA_FILE).is_file())):
        raise UsageError(f"{target} holds other files; name an empty folder")
    samples, missing = [], {}
    try:
        data.mkdir(parents=True, exist_ok=True)
        info = {"classes": {"prediction": _CLASSES, "ground_truth": _CLASSES[:2]}, "source": "Veriphoto"}
        replace_text(target / METADATA_FILE, json.dumps({"name": "veriphoto", "media_type": "image", "info": info}))
        for case in store.every(chosen):
            try:
                picture = read_picture(case)
            except ImageError as error:
                missing[case.id] = error.message
                continue
            name = f"{hashlib.sha256(picture).hexdigest()}{suffix_of(picture)}"
            if not (data / name).is_file():
                replace_bytes(data / name, picture)
            samples.append(_sample(case, name))
        wanted = {Path(sample["filepath"]).name for sample in samples}
        for path in data.iterdir():
            if path.name not in wanted:
                path.unlink()
        replace_text(target / SAMPLES_FILE, json.dumps({"samples": samples}))
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}; make room and run again") from error
    return len(samples), missing


def _sample(case: Case, name: str) -> dict[str, Any]:
    sample: dict[str, Any] = {
        "filepath": f"data/{name}",
        "tags": [case.why, case.state],
        "metadata": None,
        "prediction": _label(case.verdict, confidence=_CONFIDENCE[case.verdict](case.probability)),
        "ground_truth": _label(case.truth) if case.truth else None,
        "case": case.id,
        "model_version": case.model_version,
        "shop": case.shop,
        "sha256": case.sha256,
        "probability": case.probability,
        "state": case.state,
        "seen_at": datetime.fromtimestamp(case.seen_at, UTC).isoformat(timespec="seconds"),
    }
    if case.state != State.OPEN:
        sample["note"] = case.note
    return sample


def _label(name: str, **more: Any) -> dict[str, Any]:
    return {"_cls": "Classification", "tags": [], "label": name, **more}
