"""Cases go to a real Label Studio as tasks, people annotate them there, and what they chose comes back.

Skipped where Label Studio is not installed. It needs an environment of its own: pip install label-studio, then put its
program into the path or name it in VERIPHOTO_LABEL_STUDIO.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from brightness_model import draw
from typer.testing import CliRunner

from veriphoto_client.commandline.app import build
from veriphoto_review.cases.case import State, Truth
from veriphoto_review.cases.store import CaseStore, Filter
from veriphoto_review.database.connection import Database
from veriphoto_review.exchange.label_studio import CONFIG_FILE, TASKS_FILE
from veriphoto_review.intake.files import Batch
from veriphoto_review.intake.importing import ImportOptions, import_batches
from veriphoto_serving.triton.ports import free_ports

PROGRAM = os.environ.get("VERIPHOTO_LABEL_STUDIO") or shutil.which("label-studio")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["a photo.jpg", "unsure.jpg", "two opinions.jpg", "skipped.jpg", "größe & <b>.jpg"]

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="Label Studio is not installed"),
    pytest.mark.timeout(1500),
]


def veriphoto(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(build(), ["review", *map(str, arguments)])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos")


@pytest.fixture(scope="module")
def studio(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    assert PROGRAM is not None
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "LABEL_STUDIO_BASE_DATA_DIR": str(tmp_path_factory.mktemp("studio")),
        "LABEL_STUDIO_USERNAME": "ann@shop.example",
        "LABEL_STUDIO_PASSWORD": "a password of ann",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
        "COLLECT_ANALYTICS": "false",
    }
    command = [PROGRAM, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    log = root.parent / "label-studio.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=address, headers={"Authorization": f"Token {TOKEN}"}, timeout=60) as http:
            deadline = time.monotonic() + 900
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if http.get("/health").is_success:
                        break
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]  # noqa: PT018
                time.sleep(0.5)
            yield http
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def store(root: Path, tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """A case for each name; two versions have flagged the first photo."""
    (root / "shop").mkdir()
    rows = []
    for number, name in enumerate(NAMES):
        (root / "shop" / name).write_bytes(draw(number))
        rows.append(
            {
                "path": str(root / "shop" / name),
                "verdict": "unsure" if name.startswith("unsure") else "ai_generated",
                "probability": 0.9 - number / 10,
                "model_version": 3,
                "sha256": hashlib.sha256(draw(number)).hexdigest(),
            }
        )
    rows += [{**rows[0], "model_version": 4}, {**rows[0], "path": "", "request_id": "r" * 32, "sha256": "0" * 64}]
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('database') / 'review.db'}")
    import_batches(database, [Batch("rows", 1, rows, None)], ImportOptions())
    return CaseStore(database)


def posted(studio: httpx.Client, route: str, /, **body: Any) -> Any:
    answer = studio.post(route, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def test_there_and_back(studio: httpx.Client, store: CaseStore, root: Path, tmp_path: Path) -> None:
    place = ("--database", store.database.url)
    told = veriphoto("to-label-studio", "-o", tmp_path, "--document-root", root, *place, code=1)
    assert f"{len(NAMES)} tasks" in told, "two versions of a photo are one task"
    assert "no photo is known for this case" in told

    config = (tmp_path / CONFIG_FILE).read_text()
    project = posted(studio, "/api/projects", title="photos", label_config=config)["id"]
    posted(studio, "/api/storages/localfiles", project=project, path=str(root / "shop"), use_blob_urls=True)
    tasks = json.loads((tmp_path / TASKS_FILE).read_text())
    imported = studio.post(f"/api/projects/{project}/import", json=tasks).json()
    assert (imported["task_count"], imported["prediction_count"]) == (len(NAMES), len(NAMES))

    found = studio.get("/api/tasks", params={"project": project, "fields": "all"}).json()["tasks"]
    by_name = {Path(task["data"]["reference"]).name: task for task in found}
    shown = {
        name: (task["predictions"][0]["result"][0]["value"]["choices"], task["predictions"][0]["model_version"])
        for name, task in by_name.items()
    }
    assert shown["unsure.jpg"] == (["Cannot tell"], "veriphoto 3")
    assert shown["a photo.jpg"][0] == ["AI-generated"]
    assert by_name["a photo.jpg"]["predictions"][0]["score"] == pytest.approx(0.9)
    for name, task in by_name.items():
        assert studio.get(task["data"]["photo"]).content == (root / "shop" / name).read_bytes(), name

    def annotate(name: str, choice: str, note: str = "") -> None:
        result = [{"from_name": "truth", "to_name": "photo", "type": "choices", "value": {"choices": [choice]}}]
        if note:
            result.append({"from_name": "note", "to_name": "photo", "type": "textarea", "value": {"text": [note]}})
        posted(studio, f"/api/tasks/{by_name[name]['id']}/annotations/", result=result)

    annotate("a photo.jpg", "Real photo", "the raw file is there <b>")
    annotate("unsure.jpg", "Cannot tell")
    annotate("two opinions.jpg", "Real photo")
    annotate("two opinions.jpg", "AI-generated")
    posted(studio, f"/api/tasks/{by_name['skipped.jpg']['id']}/annotations/", result=[], was_cancelled=True)
    annotate("größe & <b>.jpg", "Cannot tell")
    annotate("größe & <b>.jpg", "AI-generated")

    export = tmp_path / "export.json"
    export.write_bytes(studio.get(f"/api/projects/{project}/export", params={"exportType": "JSON"}).content)
    told = veriphoto("from-label-studio", export, *place, code=1)
    assert "3 decided, 0 unchanged, 0 kept, 0 unknown, 1 disputed" in told
    assert "people chose differently" in told
    cases = {(Path(case.reference).name, case.model_version): case for case in store.page(Filter())}
    for version in (3, 4):
        case = cases["a photo.jpg", version]
        assert (case.state, case.truth, case.note) == (State.OVERTURNED, Truth.REAL, "the raw file is there <b>")
        assert case.reviewer == "Label Studio user 1"
    assert cases["unsure.jpg", 3].state == State.UNDECIDED
    assert cases["größe & <b>.jpg", 3].state == State.CONFIRMED
    assert cases["two opinions.jpg", 3].state == cases["skipped.jpg", 3].state == State.OPEN

    lengths = {case.id: len(store.history(case.id)) for case in cases.values()}
    told = veriphoto("from-label-studio", export, *place, code=1)
    assert "0 decided, 3 unchanged" in told
    assert {number: len(store.history(number)) for number in lengths} == lengths

    for name in ("csv", "min"):
        kind = {"csv": "CSV", "min": "JSON_MIN"}[name]
        other = tmp_path / f"other.{name}"
        other.write_bytes(studio.get(f"/api/projects/{project}/export", params={"exportType": kind}).content)
        refused = CliRunner().invoke(build(), ["review", "from-label-studio", str(other), *place])
        assert "as JSON" in str(refused.exception) or "format JSON" in str(refused.exception)
