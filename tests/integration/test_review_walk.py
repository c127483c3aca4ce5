"""The whole way round with a new model: wrong flags come in, people overturn them, the model is trained on what they
decided, passes the gate, is promoted, gets its cut, and the same photos are right. All real but the photos.

The way round with a new cut is tests/unit/review/test_walk.py.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brightness_model import brightness_repository
from PIL import Image
from toy_model import REPOSITORY, SAMPLES, copy_repository
from typer.testing import CliRunner

from veriphoto.manifest import ONNX_FILE, read_manifest
from veriphoto.verdict import OperatingPoint
from veriphoto_client.commandline.app import build
from veriphoto_release.adoption import adopt
from veriphoto_release.registry import Registry
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.reports.figures import figures
from veriphoto_serving.triton.launcher import TritonServer

PHOTOS = 32
"""Of each kind."""
# As short as a training can be that learns to tell blue from red.
TRAINING = [
    *("--recipe", "smoke", "--weights", str(REPOSITORY / "classifier" / "1"), "--epochs", "2", "--no-tracking"),
    *(f"--set={change}" for change in ("two_views=false", "consistency=0", "splice_share=0", "ema_decay=0.5")),
    *(f"--set={change}" for change in ("learning_rate=0.002", "validation_share=0.25")),
]

pytestmark = [pytest.mark.triton, pytest.mark.timeout(2400)]


def veriphoto(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(build(), list(map(str, arguments)))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def tinted(seed: int, tint: float, level: float) -> bytes:
    """Blobs around a grey level, and red or blue."""
    coarse = np.random.default_rng(seed).normal(0.0, 25.0, (6, 6, 3))
    coarse += level - coarse.mean() + np.array([tint, 0.0, -tint])
    image = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Real photos are blue and generated ones red, both from dark to bright: the first model flags what is bright."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PHOTOS):
        level = 80.0 + 96.0 * number / PHOTOS
        (folder / f"real-{number:02}.jpg").write_bytes(tinted(number, -40.0, level))
        (folder / f"ai-{number:02}.jpg").write_bytes(tinted(1000 + number, 40.0, level))
    return folder


def scanned(folder: Path, output: Path, server: TritonServer) -> dict[str, dict[str, str]]:
    veriphoto("scan", folder, "--output", output, "--url", f"http://{server.http_url}")
    with output.open(newline="") as file:
        return {Path(line["path"]).name: line for line in csv.DictReader(file)}


def test_retrained_on_what_people_decided(
    photos: Path, tmp_path: Path, start_triton: Callable[..., TritonServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VERIPHOTO_VAR", str(tmp_path / "var"))
    repository = copy_repository(tmp_path / "models")
    publish_first(brightness_repository(tmp_path) / "classifier" / "1", repository / "classifier" / "1")
    adopt(Registry(tmp_path / "var"), repository, SAMPLES[:2])
    server = start_triton(repository, var=tmp_path / "var")
    store = CaseStore(Database(f"sqlite:///{tmp_path / 'review.db'}"))
    place = ("--database", store.database.url)

    before = scanned(photos, tmp_path / "first.csv", server)
    wrong = {name for name, line in before.items() if name.startswith("real") and line["verdict"] == "ai_generated"}
    assert len(wrong) > PHOTOS / 4
    veriphoto("review", "import", tmp_path / "first.csv", *place, "--audit-share", 1)
    people_decide(store)
    data = tmp_path / "decided"
    assert f"{PHOTOS} real and {PHOTOS} AI-generated" in veriphoto("review", "export", *place, "--output", data)

    veriphoto("train", "--data", data, "--output", tmp_path / "run", *TRAINING)
    served = ("--model-repository", repository)
    assert "model 2" in veriphoto("export", tmp_path / "run", *served, "--photos", SAMPLES[0].parent)
    told = veriphoto("models", "promote", "--evaluation", data, *served, "--golden", SAMPLES[0].parent)
    assert "model 2 serves as version 2, after version 1" in told
    assert json.loads(veriphoto("models", "list", "--json", *served))["serving"] == 2

    after = scanned(photos, tmp_path / "second.csv", server)
    assert {line["model_version"] for line in after.values()} == {"2"}
    chances = {name: float(line["probability"]) for name, line in after.items()}
    highest_real = max(chance for name, chance in chances.items() if name.startswith("real"))
    assert highest_real < min(chance for name, chance in chances.items() if name.startswith("ai"))

    # What sorts them is new; its cut was fitted on the few photos that the training kept out. Now on all of the shop's.
    veriphoto("calibrate", "--real", data / "real", "--rate", 0.1, *served)
    server.stop()
    last = scanned(photos, tmp_path / "third.csv", start_triton(repository, var=tmp_path / "var"))
    assert {line["model_version"] for line in last.values()} == {"3"}
    assert {name for name, line in last.items() if line["verdict"] == "ai_generated"} == {
        name for name in last if name.startswith("ai")
    }
    veriphoto("review", "import", tmp_path / "third.csv", *place, "--audit-share", 1)
    people_decide(store)
    versions = figures(store.database).by_version
    assert (versions["3"].precision.hits, versions["3"].precision.trials) == (PHOTOS, PHOTOS)
    assert versions["1"].precision.hits < versions["1"].precision.trials
    veriphoto("review", "report", *place, "--html", tmp_path / "report.html")
    assert "By model version" in (tmp_path / "report.html").read_text()


def publish_first(made: Path, target: Path) -> None:
    """Puts a version into the repository, with the operating point as its graph has it: in single precision."""
    shutil.copy(made / ONNX_FILE, target / ONNX_FILE)
    manifest = read_manifest(made)
    values = np.array(manifest.findings.operating_point.to_tensor(), np.float32)
    findings = replace(manifest.findings, operating_point=OperatingPoint.from_tensor(values))
    replace(manifest, findings=findings).write(target)


def people_decide(store: CaseStore) -> None:
    for case in list(store.every(Filter())):
        store.decide([case.id], Truth.REAL if "/real-" in case.reference else Truth.AI, reviewer="ann")
