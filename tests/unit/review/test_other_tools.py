"""Label Studio's and FiftyOne's files, without them; tests/integration has the real Label Studio."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from brightness_model import draw
from defusedxml import ElementTree
from pillow_heif import register_heif_opener
from typer.testing import CliRunner

from veriphoto.contract import SUFFIXES
from veriphoto.errors import DataError, UsageError
from veriphoto_client.commandline.app import build
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.exchange.dataset import suffix_of
from veriphoto_review.exchange.fiftyone import METADATA_FILE, SAMPLES_FILE, write_dataset
from veriphoto_review.exchange.label_studio import CHOICES, CONFIG, TASKS_FILE, read_annotations, write_tasks

from .kit import bring, row


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    """Two photos that are there, one as PNG, and one that is gone."""
    store = CaseStore(Database(f"sqlite:///{tmp_path / 'review.db'}"))
    rows = []
    for number, kind in enumerate(("JPEG", "PNG")):
        photo = draw(number, kind=kind)
        (tmp_path / f"{number} photo").write_bytes(photo)
        sha256 = hashlib.sha256(photo).hexdigest()
        rows.append(row(number, path=str(tmp_path / f"{number} photo"), sha256=sha256, probability=0.8))
    rows[1] |= {"verdict": "unsure", "probability": 0.5}
    bring(store.database, tmp_path, [*rows, row(9, path=str(tmp_path / "gone.jpg"))])
    return store


def task(data: Any, *choices: str | None, **more: Any) -> dict[str, Any]:
    annotations = []
    for number, choice in enumerate(choices):
        result = [] if choice is None else [{"from_name": "truth", "value": {"choices": [choice]}, "type": "choices"}]
        annotations.append({"completed_by": number, "result": result, "was_cancelled": False, **more})
    return {"id": 1, "data": data, "annotations": annotations}


def returned(store: CaseStore, tmp_path: Path, *tasks: Any) -> Any:
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    return read_annotations(store.database, tmp_path / "export.json")


def test_the_configuration_offers_what_is_understood() -> None:
    offered = [each.get("value") for each in ElementTree.fromstring(CONFIG).iter("Choice")]
    assert offered == list(CHOICES.values())


def test_tasks_of_local_files_need_a_document_root_above_them(store: CaseStore, tmp_path: Path) -> None:
    write_tasks(store, tmp_path / "out", Filter(), document_root=tmp_path)
    tasks = json.loads((tmp_path / "out" / TASKS_FILE).read_text())
    assert "/data/local-files/?d=0%20photo" in {each["data"]["photo"] for each in tasks}
    bring(store.database, tmp_path, [row(20, path="s3://bucket/a.jpg")])
    sent = write_tasks(store, tmp_path / "out", Filter(), document_root=tmp_path / "elsewhere")
    assert sent.tasks == 1, "the others are left out, and named"
    assert len(sent.left_out) == 3
    assert all("--document-root" in why for why in sent.left_out.values())
    write_tasks(store, tmp_path / "out", Filter(), document_root=tmp_path)
    assert "s3://bucket/a.jpg" in {
        each["data"]["photo"] for each in json.loads((tmp_path / "out" / TASKS_FILE).read_text())
    }


@pytest.mark.parametrize(
    ("answers", "status", "truth"),
    [
        (("Real photo",), "decided", "real"),
        (("Real photo", "Cannot tell", "Real photo"), "decided", "real"),
        (("Cannot tell", "Cannot tell"), "decided", ""),
        (("Real photo", "AI-generated"), "disputed", ""),
        ((), "not annotated", ""),
        ((None,), "not annotated", ""),
        (("Spam",), "not understood", ""),
    ],
)
def test_what_annotators_chose(store: CaseStore, tmp_path: Path, answers: Any, status: str, truth: str) -> None:
    case = store.page(Filter())[0]
    done = returned(store, tmp_path, task({"sha256": case.sha256}, *answers))
    assert dict(done.statuses) == {status: 1}
    assert store.get(case.id).truth == truth
    assert (store.get(case.id).state == State.OPEN) == (status != "decided")


def test_what_a_reviewer_decided_stays_and_what_was_forgotten_is_not_remembered(
    store: CaseStore, tmp_path: Path
) -> None:
    case = store.page(Filter())[0]
    store.decide([case.id], Truth.AI, reviewer="ann")
    gone = task({"sha256": "ff" * 32}, "Real photo")
    done = returned(store, tmp_path, task({"sha256": case.sha256}, "Real photo"), gone, gone)
    assert dict(done.statuses) == {"kept": 1, "unknown": 2}
    assert store.get(case.id).reviewer == "ann"
    bring(store.database, tmp_path, [row(30, sha256="ff" * 32)])
    assert store.count(Filter(state=State.OVERTURNED)) == 0


@pytest.mark.parametrize("data", [{}, None, [], {"sha256": ""}, {"photo": "x.jpg"}])
def test_tasks_that_are_not_ours(store: CaseStore, tmp_path: Path, data: Any) -> None:
    done = returned(store, tmp_path, task(data, "Real photo"))
    assert dict(done.statuses) == {"not understood": 1}
    assert "name no picture" in done.complaints[0]


@pytest.mark.parametrize(
    "annotations",
    [
        5,
        None,
        [{"result": 5}],
        [{"result": [{"from_name": [], "value": 5}]}],
        [{"result": [{"from_name": "truth", "value": "x"}]}],
        [{"result": [{"from_name": "truth", "value": {"choices": 5}}]}],
        [{"result": [{"from_name": "truth", "value": {"choices": [[1]]}}]}],
        [{"result": [{"from_name": "truth", "value": {"choices": {"a": 1}}}]}],
    ],
)
def test_annotations_of_another_shape_cost_no_other_task(store: CaseStore, tmp_path: Path, annotations: Any) -> None:
    case = store.page(Filter())[0]
    long = task({"reference": "x" * 5000}, "Real photo")
    odd = {"annotations": annotations, "data": {"sha256": case.sha256}}
    done = returned(store, tmp_path, odd, long, task({"sha256": case.sha256}, "Real photo"))
    assert dict(done.statuses) == {"not understood": 2, "decided": 1}


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "", "{}", "[1]", '[{"photo": "a", "truth": "Real photo"}]', "\x00\xff"]
)
def test_files_that_are_no_export(store: CaseStore, tmp_path: Path, text: str) -> None:
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(DataError, match=r"as JSON|format JSON"):
        read_annotations(store.database, tmp_path / "export.json")
    with pytest.raises(DataError, match="No such file"):
        read_annotations(store.database, tmp_path / "gone.json")


def test_a_fiftyone_dataset(store: CaseStore, tmp_path: Path) -> None:
    cases = {Path(case.reference).name: case for case in store.page(Filter())}
    store.decide([cases["0 photo"].id], Truth.REAL, reviewer="ann", note="raw file")
    target = tmp_path / "fiftyone"
    count, missing = write_dataset(store, target, Filter())
    assert (count, list(missing)) == (2, [cases["gone.jpg"].id])
    assert "version" not in json.loads((target / METADATA_FILE).read_text()), "or FiftyOne takes it for its database"
    samples = {each["case"]: each for each in json.loads((target / SAMPLES_FILE).read_text())["samples"]}
    first, second = samples[cases["0 photo"].id], samples[cases["1 photo"].id]
    assert (target / first["filepath"]).read_bytes() == (tmp_path / "0 photo").read_bytes()
    assert (first["filepath"][-4:], second["filepath"][-4:]) == (".jpg", ".png")
    assert first["ground_truth"]["label"] == "real"
    assert (first["prediction"]["label"], first["prediction"]["confidence"]) == ("ai_generated", 0.8)
    assert (second["ground_truth"], second["prediction"]["confidence"]) == (None, None)
    write_dataset(store, target, Filter(state=State.OPEN))
    assert [path.suffix for path in (target / "data").iterdir()] == [".png"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    for other in (tmp_path / "other", tmp_path / "other" / "file"):
        with pytest.raises(UsageError, match="empty folder"):
            write_dataset(store, other, Filter())


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("WEBP", ".webp"), ("HEIF", ".heic"), ("AVIF", ".avif")],
)
def test_a_file_ends_as_its_format_does(kind: str, suffix: str) -> None:
    register_heif_opener()
    assert suffix_of(draw(kind=kind)) == suffix
    assert suffix in SUFFIXES, "the data set's readers find it"


def test_other_riff_files_are_no_webp() -> None:
    assert suffix_of(b"RIFF\x24\0\0\0WAVEfmt ") != ".webp"


def test_the_commands(store: CaseStore, tmp_path: Path) -> None:
    def review(*words: str, code: int) -> str:
        result = CliRunner().invoke(build(), ["review", *words, "--database", store.database.url])
        assert result.exit_code == code, result.output
        return result.output

    told = review("to-fiftyone", "-o", str(tmp_path / "f"), "--state", "all", code=1)
    assert "2 samples" in told
    assert "left out: 1" in told
    told = review("to-label-studio", "-o", str(tmp_path / "l"), "--document-root", str(tmp_path), code=0)
    assert "3 tasks" in told
