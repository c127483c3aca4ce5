"""Canaries: the statistics, the folder, the results, and the command against a server that is not there to be good."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_triton import FakeTriton, fake_triton
from gateway_beside import gateway
from photo_corpus import write_broken
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from veriphoto.errors import DataError
from veriphoto.prediction_log.record import PROBE_PREFIX
from veriphoto_client.sdk.fake import FakeTransport
from veriphoto_monitoring.canary import results
from veriphoto_monitoring.canary.pictures import Canary, find
from veriphoto_monitoring.canary.results import Results, canary_metrics
from veriphoto_monitoring.canary.verdict import GroupTally, judge_groups

LEVEL = 0.01


def ai(group: str, flagged: int, pictures: int) -> GroupTally:
    return GroupTally(truth="ai", group=group, flagged=flagged, pictures=pictures)


def real(group: str, flagged: int, pictures: int) -> GroupTally:
    return GroupTally(truth="real", group=group, flagged=flagged, pictures=pictures)


# --- the folder ------------------------------------------------------------------------------------------------------


def shade(level: int, size: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def put(root: Path, group: str, levels: list[int]) -> None:
    folder = root / group
    folder.mkdir(parents=True, exist_ok=True)
    for number, level in enumerate(levels):
        (folder / f"{number:03}.png").write_bytes(shade(level))


def test_folders_say_truth_and_group(tmp_path: Path) -> None:
    put(tmp_path, "ai/sdxl/deeper", [1])
    put(tmp_path, "real/shop one", [2])
    (tmp_path / "ai" / "README.png").write_bytes(b"in no group")
    (tmp_path / "real" / "shop one" / "notes.txt").write_text("no picture")
    assert find(tmp_path) == [
        Canary(tmp_path / "ai/sdxl/deeper/000.png", "ai", "sdxl"),
        Canary(tmp_path / "real/shop one/000.png", "real", "shop one"),
    ]


def test_a_manifest_says_it_instead(tmp_path: Path) -> None:
    put(tmp_path, "ai/folder", [1, 2])
    rows = [
        "path,label,source,generator,more",
        "x/1.jpg,ai,gallery,flux,9",
        "x/2.jpg,ai,gallery,,9",
        "y.jpg,real,shop,,9",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    assert [(each.path.name, each.truth, each.group) for each in find(tmp_path)] == [
        ("1.jpg", "ai", "flux"),
        ("2.jpg", "ai", "gallery"),
        ("y.jpg", "real", "shop"),
    ]


@pytest.mark.parametrize(
    "manifest", ["path,label\na.jpg,ai\n", "path,label,source\na.jpg,fake,shop\n", "\xff\x00", None]
)
def test_what_is_no_canary_folder_is_refused(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.csv").write_bytes(manifest.encode("latin1"))
    with pytest.raises(DataError):
        find(tmp_path)


# --- results and metrics ---------------------------------------------------------------------------------------------


def some_results() -> Results:
    tallies = [ai('with "quotes"', 20, 100), ai("b", 90, 100), real("shop", 3, 200)]
    judged = judge_groups(tallies, [ai('with "quotes"', 80, 100), ai("b", 90, 100), real("shop", 2, 200)], LEVEL)
    return Results(tallies=tallies, judged=judged, model_versions=[3], level=LEVEL, time=1700000000.0)


def test_results_survive_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "canary.json"
    results.write(path, some_results())
    assert results.read(path) == some_results()
    assert [entry.name for entry in path.parent.iterdir()] == ["canary.json"]


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"schema": 1, "tallies": [{"truth": "ai"}]}', "\xff"])
def test_unreadable_results_are_no_metrics_and_no_reference(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "canary.json"
    if content is not None:
        path.write_bytes(content.encode("latin1"))
    assert canary_metrics(path) == []
    with pytest.raises(DataError, match="--write-reference"):
        results.read(path)


def test_metrics_of_the_last_run(tmp_path: Path) -> None:
    results.write(tmp_path / "canary.json", some_results())
    results.write_textfile(tmp_path / "canary.prom", tmp_path / "canary.json")
    text = (tmp_path / "canary.prom").read_text()
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values == {
        ("veriphoto_canary_true_positive_rate", 'with "quotes"'): 0.2,
        ("veriphoto_canary_true_positive_rate", "b"): 0.9,
        ("veriphoto_canary_false_alarm_rate", "shop"): 0.015,
        ("veriphoto_canary_alarm", 'with "quotes"', "true positive rate"): 1.0,
        ("veriphoto_canary_alarm", "b", "true positive rate"): 0.0,
        ("veriphoto_canary_alarm", "shop", "false-alarm rate"): 0.0,
        ("veriphoto_canary_failing",): 1.0,
        ("veriphoto_canary_last_run_timestamp_seconds",): 1700000000.0,
    }


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[FakeTriton]:
    with fake_triton() as fake:
        yield fake


def start(*arguments: str | Path, url: str, var: Path) -> subprocess.Popen[str]:
    code = "from veriphoto_client.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "canary", *map(str, arguments)],
        env={
            **os.environ,
            "VERIPHOTO_TRITON_URL": url,
            "VERIPHOTO_VAR": str(var),
            "COLUMNS": "160",
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def canary(*arguments: str | Path, url: str, var: Path) -> tuple[int, str, str]:
    process = start(*arguments, url=url, var=var)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def bright_and_dark(root: Path) -> Path:
    """The fake server takes bright pictures for generated ones."""
    put(root, "ai/flux", [230] * 15)
    put(root, "ai/sdxl", [230] * 14 + [20])
    put(root, "real/shop", [20] * 29 + [230])
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return bright_and_dark(tmp_path / "canaries")


@dataclass(frozen=True)
class Reference:
    """The run that all others are compared with: what it said, what it asked, and the ``var`` that it left."""

    said: tuple[int, str, str]
    requests: list[tuple[str, dict[str, str], bytes]]
    var: Path

    def copy(self, target: Path) -> Path:
        return Path(shutil.copytree(self.var, target))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    root = tmp_path_factory.mktemp("reference")
    with fake_triton() as server:
        said = canary(bright_and_dark(root / "canaries"), "--write-reference", url=server.url, var=root / "var")
    return Reference(said, server.requests, root / "var")


def test_a_reference_then_no_alarm_then_one_by_name(
    server: FakeTriton, reference: Reference, folder: Path, tmp_path: Path
) -> None:
    code, out, err = reference.said
    assert (code, err) == (0, "")
    assert "this run is the reference now" in out
    var = reference.copy(tmp_path / "var")
    code, out, _ = canary(folder, url=server.url, var=var)
    assert code == 0
    assert "ALARM" not in out
    assert "not looked at" not in out
    put(folder, "ai/sdxl", [20] * 15)
    write_broken(folder / "real" / "shop" / "broken.jpg", 1)
    code, out, _ = canary(folder, f"--textfile={tmp_path / 'canary.prom'}", url=server.url, var=var)
    assert code == 1
    assert "ALARM sdxl: true positive rate 0.0% (0 of 15), reference 93.3% (14 of 15)" in out
    assert "ALARM flux" not in out
    assert "ALARM shop" not in out
    results = json.loads((var / "canary.json").read_text())
    shop = next(each for each in results["tallies"] if each["group"] == "shop")
    assert shop == {"truth": "real", "group": "shop", "flagged": 1, "pictures": 30, "unreadable": 1}
    assert (
        'veriphoto_canary_alarm{group="sdxl",measure="true positive rate"} 1.0'
        in (tmp_path / "canary.prom").read_text()
    )
    for photo in (folder / "real" / "shop").iterdir():
        photo.write_bytes(b"damaged")
    shutil.rmtree(folder / "ai" / "flux")
    code, out, _ = canary(folder, url=server.url, var=var)
    assert code == 1
    assert "not looked at: ai/flux is in the reference, but the folder has no picture of it" in out
    assert "ALARM shop: false-alarm rate - (0 of 0, 31 refused), reference 3.3% (1 of 30)" in out
    code, _, err = canary(folder, "--write-reference", url=server.url, var=var)
    assert (code, "no picture of real/shop could be scored" in err) == (2, True)


def test_its_requests_are_no_traffic(reference: Reference) -> None:
    assert reference.said[0] == 0
    ids = []
    for _, headers, body in reference.requests:
        ids.append(json.loads(body[: int(headers["inference-header-content-length"])])["id"])
    assert len(set(ids)) == 60
    assert all(each.startswith(PROBE_PREFIX) for each in ids)


def test_a_gateway_is_refused_and_only_triton_s_variable_counts(
    server: FakeTriton, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway(FakeTransport()) as url:
        refused = [  # at once: each spends its time on its imports
            start(folder, "--write-reference", *arguments, url=variable, var=tmp_path)
            for arguments, variable in (((f"--url={url}",), server.url), ((), url))
        ]
        for process in refused:
            _, err = process.communicate(timeout=60)
            assert process.returncode == 2
            assert f"{url} is the REST gateway: canaries sent through it would count as traffic" in err
        assert not list(tmp_path.glob("*.json"))
        assert not server.requests
        monkeypatch.setenv("VERIPHOTO_URL", url)
        assert canary(folder, "--write-reference", url=server.url, var=tmp_path)[0] == 0
    assert len(server.requests) == 60


def test_a_server_that_is_away_is_no_result(folder: Path, tmp_path: Path) -> None:
    code, _, err = canary(folder, "--write-reference", url="http://127.0.0.1:9", var=tmp_path)
    assert (code, err[:28]) == (2, "error: [service_unavailable]")
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [([], "--write-reference"), (["--write-reference", "--every=5"], "leave out --every")],
    ids=["no reference", "a reference every five minutes"],
)
def test_what_does_not_fit_together_is_said(
    server: FakeTriton, folder: Path, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    code, _, err = canary(folder, *arguments, url=server.url, var=tmp_path)
    assert code == 2
    assert complaint in err
    assert not server.requests


def test_a_schedule_outlives_a_server_that_goes_away(
    server: FakeTriton, reference: Reference, folder: Path, tmp_path: Path
) -> None:
    var = reference.copy(tmp_path / "var")
    good, server.answer = server.answer, lambda _: (503, b'{"error": "away"}')
    process = start(folder, "--every=0.005", url=server.url, var=var)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "no run" in process.stdout.readline()
    asked = len(server.requests)
    server.answer = good
    deadline = time.monotonic() + 30
    while len(server.requests) < asked + 130 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out.count("Canaries, model version 1") >= 2
