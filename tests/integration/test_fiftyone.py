"""FiftyOne itself reads what we write.

Skipped where FiftyOne is not installed. It needs an environment of its own: pip install fiftyone, then name its Python
in VERIPHOTO_FIFTYONE_PYTHON. Its importer is asked without its database, which FiftyOne downloads at its first start.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from veriphoto.contract import SUFFIXES
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.exchange.fiftyone import write_dataset
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.importing import ImportOptions, import_batches

PYTHON = os.environ.get("VERIPHOTO_FIFTYONE_PYTHON")
SAMPLES = sorted(path for path in (Path(__file__).parents[2] / "samples").iterdir() if path.suffix in SUFFIXES)
SCRIPT = """
import json, os, sys
import fiftyone as fo
from fiftyone.utils.data.importers import FiftyOneDatasetImporter

importer = FiftyOneDatasetImporter(sys.argv[1])
assert importer._is_legacy_format_data()
importer = importer._to_legacy_importer()  # as Dataset.from_dir(dataset_type=fo.types.FiftyOneDataset) does
importer.setup()
found = []
for sample in importer:
    assert isinstance(sample, fo.Sample) and isinstance(sample.prediction, fo.Classification)
    assert os.path.isfile(sample.filepath)
    truth = sample.ground_truth and sample.ground_truth.label
    found.append([sample.sha256, sample.prediction.label, sample.prediction.confidence, truth, list(sample.tags)])
print(json.dumps(found))
"""


@pytest.mark.skipif(PYTHON is None, reason="FiftyOne is not installed; see this file's beginning")
def test_fiftyone_reads_the_dataset(tmp_path: Path) -> None:
    rows = [
        {
            "path": str(path),
            "verdict": "ai_generated" if number % 2 else "unsure",
            "probability": 0.5 + number / 100,
            "model_version": 1,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for number, path in enumerate(SAMPLES)
    ]
    database = Database(f"sqlite:///{tmp_path / 'review.db'}")
    import_batches(database, [Batch("rows", 1, rows, None)], ImportOptions())
    store = CaseStore(database)
    first = next(iter(store.every(Filter())))
    store.decide([first.id], Truth.REAL, reviewer="ann")
    write_dataset(store, tmp_path / "dataset", Filter())
    command = [str(PYTHON), "-c", SCRIPT, str(tmp_path / "dataset")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == [
        [
            case.sha256,
            case.verdict,
            case.probability if case.verdict == "ai_generated" else None,
            case.truth or None,
            [case.why, case.state],
        ]
        for case in store.every(Filter())
    ]
