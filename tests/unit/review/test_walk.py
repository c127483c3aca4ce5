"""The whole way round: wrong flags come in, people overturn them, the cut is fitted anew, the pictures are right."""

from __future__ import annotations

import csv
from pathlib import Path

import onnxruntime
import pytest
from brightness_model import brightness_repository, draw
from typer.testing import CliRunner

from veriphoto.contract import CONTRACT, CROPS, PROBABILITY
from veriphoto.manifest import ONNX_FILE, read_manifest, sha256_file
from veriphoto.preprocessing import preprocess
from veriphoto.verdict import Verdict, decide
from veriphoto_client.commandline.app import build
from veriphoto_export.pictures import find_pictures
from veriphoto_monitoring.canary.pictures import find
from veriphoto_review.cases.case import Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.reports.figures import figures
from veriphoto_training.data.dataset import read_dataset

from .kit import as_seen

RATE = 0.1


def veriphoto(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(build(), list(map(str, arguments)))
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


def scan(folder: Path, version: Path, output: Path) -> dict[str, Verdict]:
    """What `veriphoto scan` would write had this version answered."""
    session = onnxruntime.InferenceSession(version / ONNX_FILE)
    point = read_manifest(version).findings.operating_point
    verdicts = {}
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "verdict", "probability", "confidence", "model_version", "sha256", "seller", "error"])
        for path in sorted(folder.iterdir()):
            prepared = preprocess(path.read_bytes())
            statistics = dict(zip(CONTRACT.statistics, map(float, prepared.statistics), strict=True))
            (scores,) = session.run([PROBABILITY], {CROPS: prepared.crops[None]})
            made = decide(float(scores.ravel()[0]), statistics, point)
            verdicts[path.name] = made
            seller = path.name.split("-")[1]
            row = [path, made.verdict, made.probability, made.confidence, made.model_version, sha256_file(path), seller]
            writer.writerow([*row, ""])
    return verdicts


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty real photos of four sellers, some bright, which the model takes for AI; and ten fakes, brighter still."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        level = 60.0 + 2.5 * number
        (folder / f"real-{number % 4}-{number:02d}.jpg").write_bytes(draw(number, size=(64, 64), level=level))
    for number in range(10):
        (folder / f"ai-9-{number:02d}.jpg").write_bytes(draw(100 + number, size=(64, 64), level=235.0))
    return folder


def test_the_walk(photos: Path, tmp_path: Path) -> None:
    repository = brightness_repository(tmp_path)
    database = f"sqlite:///{tmp_path / 'review.db'}"
    store = CaseStore(Database(database))

    def decide_all() -> None:
        for case in store.page(Filter(), limit=1000):
            truth = Truth.REAL if "/real-" in case.reference else Truth.AI
            store.decide([case.id], truth, reviewer="ann")

    before = scan(photos, repository / "classifier" / "1", tmp_path / "first.csv")
    wrong = {name for name, made in before.items() if name.startswith("real") and made.verdict == "ai_generated"}
    assert len(wrong) > 5
    veriphoto("review", "import", tmp_path / "first.csv", "--database", database, "--audit-share", 1)
    decide_all()
    first = figures(store.database).by_version["1"]
    assert first.precision.hits == 10
    assert first.precision.trials == 10 + len(wrong)

    data = tmp_path / "data"
    told = veriphoto("review", "export", "--database", database, "--output", data)
    assert "40 real and 10 AI-generated pictures" in told
    found = read_dataset(data)
    assert sorted(picture.label for picture in found.pictures) == [0] * 40 + [1] * 10
    assert {len({p.group for p in found.pictures if p.label == label}) for label in (0, 1)} == {4, 1}
    assert len(find(data)) == 50
    assert len(find_pictures(data / "real")) == 40

    veriphoto("calibrate", "--real", data / "real", "--rate", RATE, "--model-repository", repository)
    after = scan(photos, repository / "classifier" / "2", tmp_path / "second.csv")
    still = {name for name in wrong if after[name].verdict == "ai_generated"}
    assert len(still) <= RATE * 40
    assert all(after[name].verdict == "ai_generated" for name in after if name.startswith("ai"))

    veriphoto("review", "import", tmp_path / "second.csv", "--database", database, "--audit-share", 1)
    decide_all()
    second = figures(store.database).by_version["2"]
    assert second.precision.hits == 10
    assert second.precision.trials == 10 + len(still)
    assert (second.precision.value or 0.0) > (first.precision.value or 1.0)
    assert "2" in veriphoto("review", "report", "--database", database)


def exported(photos: Path, tmp_path: Path) -> tuple[CaseStore, list[int], str, Path]:
    """Scanned, imported, all decided as real and exported: the store, its cases, its address and the data set."""
    database = f"sqlite:///{tmp_path / 'review.db'}"
    store = CaseStore(Database(database))
    scan(photos, brightness_repository(tmp_path) / "classifier" / "1", tmp_path / "first.csv")
    veriphoto("review", "import", tmp_path / "first.csv", "--database", database, "--audit-share", 1)
    numbers = [case.id for case in store.page(Filter(), limit=100)]
    store.decide(numbers, Truth.REAL, reviewer="ann")
    data = tmp_path / "data"
    veriphoto("review", "export", "--database", database, "--output", data)
    return store, numbers, database, data


def test_decided_otherwise_or_forgotten_since_the_last_export(photos: Path, tmp_path: Path) -> None:
    store, numbers, database, data = exported(photos, tmp_path)
    assert len(list((data / "real").iterdir())) == 50
    store.decide(numbers[:5], Truth.AI, reviewer="ann", seen=as_seen(store, numbers))
    store.decide(numbers[5:7], Truth.UNKNOWN, reviewer="ann", seen=as_seen(store, numbers))
    veriphoto("review", "forget", "--database", database, "--seller", "3")
    veriphoto("review", "export", "--database", database, "--output", data)
    left = {case.sha256: case.truth for case in store.page(Filter(), limit=100) if case.truth}
    for folder, truth in (("real", Truth.REAL), ("ai", Truth.AI)):
        assert {path.stem for path in (data / folder).iterdir()} == {sha for sha, t in left.items() if t == truth}
    assert len(left) < 43


def test_an_export_keeps_pictures_whose_files_are_gone(photos: Path, tmp_path: Path) -> None:
    store, numbers, database, data = exported(photos, tmp_path)
    for path in photos.iterdir():
        path.unlink()
    store.decide(numbers[:5], Truth.AI, reviewer="ann", seen=as_seen(store, numbers))
    (damaged, *others) = sorted((data / "real").iterdir())
    damaged.write_bytes(b"something else")
    told = veriphoto("review", "export", "--database", database, "--output", data, code=1)
    assert "1 whose file cannot be read" in told
    left = [path for label in ("real", "ai") for path in (data / label).iterdir()]
    assert {path.stem for path in left} == {path.stem for path in others}
    assert len(list((data / "ai").iterdir())) in (4, 5)
    assert len(list((data / "real").iterdir())) + len(list((data / "ai").iterdir())) == 49


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'review.db'}"
    store = CaseStore(Database(database))
    (tmp_path / "a.jpg").write_bytes(draw(1))
    (tmp_path / "b.jpg").write_bytes(draw(1))
    lines = ["path,verdict,probability,model_version"]
    lines += [f"{tmp_path / name},ai_generated,0.9,1" for name in ("a.jpg", "b.jpg", "gone.jpg")]
    (tmp_path / "v.csv").write_text("\n".join(lines) + "\n")
    veriphoto("review", "import", tmp_path / "v.csv", "--database", database)
    numbers = {case.reference[-5:]: case.id for case in store.page(Filter())}
    store.decide(list(numbers.values()), Truth.REAL, reviewer="ann")
    told = veriphoto("review", "export", "--database", database, "--output", tmp_path / "data", code=1)
    assert "1 real and 0 AI-generated pictures; left out: 1 copies, 0 decided in both ways, 1 whose" in told
    store.decide([numbers["b.jpg"]], Truth.AI, reviewer="ann", seen=as_seen(store, [numbers["b.jpg"]]))
    told = veriphoto("review", "export", "--database", database, "--output", tmp_path / "data", code=1)
    assert "0 real and 0 AI-generated pictures; left out: 0 copies, 2 decided in both ways, 1 whose" in told
    assert list((tmp_path / "data" / "real").iterdir()) == []
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "manifest.csv").write_bytes(b"\xff\x00")
    for folder in (tmp_path, Path(__file__), tmp_path / "binary"):
        result = CliRunner().invoke(build(), ["review", "export", "--database", database, "--output", str(folder)])
        assert "name a" in str(result.exception)
    for folder in ("/proc/data", str(tmp_path / ("x" * 300))):
        result = CliRunner().invoke(build(), ["review", "export", "--database", database, "--output", folder])
        assert "cannot be written" in str(result.exception)
