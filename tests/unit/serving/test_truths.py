from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from veriphoto.contract import SUFFIXES
from veriphoto.errors import UsageError
from veriphoto_serving.rates import rate_line
from veriphoto_serving.truths import TRUTHS_FILE, read_truths

ROOT = Path(__file__).parents[3]
VERSION = ROOT / "model_repository" / "classifier" / "2"


def test_every_sample_photo_is_in_the_table_and_in_the_documents() -> None:
    pictures = {path.name for path in (ROOT / "samples").iterdir() if path.suffix in SUFFIXES}
    truths = read_truths(ROOT / "samples")
    assert set(truths) == pictures
    described = (ROOT / "docs" / "samples.md").read_text()
    assert all(f"`{name}`" in described for name in pictures)
    assert all(name.startswith("real_" if truth.label == "real" else "ai_") for name, truth in truths.items())


def test_a_folder_without_a_table_says_nothing(tmp_path: Path) -> None:
    assert read_truths(tmp_path) == {}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("file,label\na.jpg,fake\n", "line 2: label 'fake'"),
        ("file,label\na.jpg\n", "line 2: label ''"),
        ("file,label,hardest\na.jpg,real,yes\nb.jpg,real,very\n", "line 3: hardest 'very'"),
        ("name,label\na.jpg,real\n", "its columns are file, label"),
        ("file,truth\na.jpg,real\n", "its columns are file, label"),
    ],
)
def test_a_broken_table_is_named(tmp_path: Path, table: str, expected: str) -> None:
    (tmp_path / TRUTHS_FILE).write_text(table)
    with pytest.raises(UsageError, match=re.escape(expected)):
        read_truths(tmp_path)


def test_a_table_of_another_alphabet_is_named(tmp_path: Path) -> None:
    (tmp_path / TRUTHS_FILE).write_bytes(b"file,label\n\xff\xfe.jpg,real\n")
    with pytest.raises(UsageError, match=TRUTHS_FILE):
        read_truths(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    shutil.copytree(VERSION, tmp_path / "classifier" / "2", ignore=shutil.ignore_patterns("*.onnx"))
    return tmp_path


def change(path: Path, *keys: str, **values: float) -> None:
    body = json.loads(path.read_text())
    place = body
    for key in keys:
        place = place[key]
    place |= values
    path.write_text(json.dumps(body))


def test_the_rate_is_the_worst_delivery_of_the_version(repository: Path) -> None:
    figures = {"clean_found_product": 0.84, "mixed_found_product": 0.46}
    flagged = {"clean_false_alarms_product": 0.004, "mixed_false_alarms_product": 0.031}
    change(repository / "classifier" / "2" / "second_opinion.json", "metrics", **figures, **flagged)
    line = rate_line(repository, 2, opinion=True)
    assert "about 5 in 10 AI product photos from sources it never saw; 3 in 100 real product photos" in line


def test_without_the_second_opinion_the_rate_claims_nothing_about_unseen_generators(repository: Path) -> None:
    line = rate_line(repository, 2, opinion=False)
    assert "never saw" not in line
    assert "make encoder" in line


def test_a_calibrated_version_says_whose_photos_set_its_threshold(repository: Path) -> None:
    change(repository / "classifier" / "2" / "manifest.json", "findings", "metrics", shop_rate=0.001)
    assert "your own photos, of which fewer than 1 in 100" in rate_line(repository, 2, opinion=True)


def test_a_version_elsewhere_says_nothing(repository: Path) -> None:
    assert rate_line(repository, 3, opinion=True) == ""
