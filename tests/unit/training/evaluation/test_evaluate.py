"""``veriphoto evaluate`` from end to end, with a model whose answers are known."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from brightness_model import draw
from typer.testing import CliRunner

from veriphoto.errors import DataError, UsageError
from veriphoto_training.commands.evaluate import register
from veriphoto_training.data.dataset import Dataset, read_dataset
from veriphoto_training.data.splits import split_dataset
from veriphoto_training.evaluation.evaluate import EvaluationOptions, choose_part, run_evaluation
from veriphoto_training.scoring.scorers import OnnxScorer

Tree = Callable[..., Path]


class Notes:
    """A tracker that remembers."""

    run_id = "notes"

    def __init__(self) -> None:
        self.noted: dict[str, Any] = {}
        self.figures: dict[str, float] = {}
        self.files: list[str] = []

    def params(self, values: Mapping[str, Any]) -> None:
        self.noted.update(values)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.figures.update(values)

    def artifact(self, path: Path) -> None:
        assert path.is_file()
        self.files.append(path.name)

    def close(self) -> None:
        pass


@pytest.fixture
def data(write_tree: Tree) -> Path:
    """The model takes bright for AI: one bright real picture, two dark AI pictures of one generator."""
    files = {f"real/shoes/{i}.jpg": draw(i, size=(230, 230), level=70) for i in range(9)}
    files |= {f"real/street/{i}.jpg": draw(20 + i, size=(230, 230), level=90) for i in range(5)}
    files |= {f"ai/good/{i}.jpg": draw(40 + i, size=(230, 230), level=200) for i in range(6)}
    files |= {f"ai/sly/{i}.jpg": draw(60 + i, size=(230, 230), level=210 if i else 60) for i in range(2)}
    files["real/shoes/bright.jpg"] = draw(99, size=(230, 230), level=240)
    files["ai/sly/dark.jpg"] = draw(98, size=(230, 230), level=50)
    root = write_tree(files)
    lines = ["path,label,source,generator,group"]
    for path in files:
        label, source, _ = path.split("/")
        lines.append(f"{path},{label},{source},{source if label == 'ai' else ''},{path}")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root


def test_figures_tables_and_mistakes_are_right(data: Path, repository: Path, tmp_path: Path) -> None:
    notes = Notes()
    options = EvaluationOptions(root=data, product_sources=("shoes",), evidence_trials=4)
    found = run_evaluation(OnnxScorer(repository / "classifier"), options, tmp_path, notes, lambda line: None)
    body = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(body["deliveries"]) == ["clean", "web", "hard"]
    clean = {name: figure["value"] for name, figure in body["deliveries"]["clean"]["figures"].items()}
    assert clean["tpr"] == pytest.approx(7 / 9)
    assert clean["fpr"] == pytest.approx(1 / 15)
    assert clean["balanced_accuracy"] == pytest.approx((7 / 9 + 14 / 15) / 2)
    assert clean["fpr_product"] == clean["red_flags_product"] == pytest.approx(1 / 10)
    assert clean["unsure"] == 0.0
    sly, good = body["generators"]
    assert (sly["name"], sly["pictures"], sly["flagged"]["hard"]["value"]) == ("sly", 3, pytest.approx(1 / 3))
    assert sly["flagged"]["clean"]["low"] < 1 / 3 < sly["flagged"]["clean"]["high"]
    assert good["flagged"]["clean"]["value"] == 1.0
    assert good["flagged"]["clean"]["low"] < 0.7  # six pictures prove little
    assert [row["name"] for row in body["sources"]] == ["sly", "good", "shoes", "street"]
    assert [mistake["path"] for mistake in body["mistakes"]] == [
        "real/shoes/bright.jpg",
        "ai/sly/dark.jpg",
        "ai/sly/0.jpg",
    ]
    assert notes.figures["clean_tpr"] == clean["tpr"]
    assert notes.figures["evidence_rate"] == found.evidence.rate.value  # type: ignore[union-attr]
    assert notes.files == ["evaluation.html", "evaluation.json", "model.onnx"]
    assert {"model_sha256", "data_fingerprint", "python", "torch", "threshold"} <= notes.noted.keys()


def test_the_page_shows_the_mistakes_and_needs_nothing_else(data: Path, repository: Path, tmp_path: Path) -> None:
    run_evaluation(
        OnnxScorer(repository / "classifier"), EvaluationOptions(root=data), tmp_path, Notes(), lambda line: None
    )
    page = (tmp_path / "evaluation.html").read_text()
    assert page.count("data:image/png") == 2
    assert page.count("data:image/jpeg") == 3
    assert "ai/sly/dark.jpg" in page
    assert re.search(r"AI with 99\.\d%; shoes<br>real/shoes/bright", page)
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "trained on these pictures" not in page


def test_figures_on_training_data_are_called_so(data: Path, repository: Path, tmp_path: Path) -> None:
    scorer = OnnxScorer(repository / "classifier")
    lineage = replace(scorer.findings.lineage, data_fingerprint=read_dataset(data).fingerprint)
    scorer.findings = replace(scorer.findings, lineage=lineage)
    run_evaluation(scorer, EvaluationOptions(root=data), tmp_path, Notes(), lambda line: None)
    assert "was trained on these pictures" in (tmp_path / "evaluation.html").read_text()


def test_the_parts_of_a_run_are_found_again(data: Path) -> None:
    dataset = read_dataset(data)
    training = {
        "recipe": {"validation_share": 0.3},
        "seed": 3,
        "data_fingerprint": dataset.fingerprint,
        "holdout_sources": ["street"],
        "holdout_generators": ["sly"],
    }
    split = split_dataset(dataset.pictures, 0.3, ["street"], ["sly"], 3)
    assert choose_part("holdout", training)(dataset) == split.holdout
    assert choose_part("validation", training)(dataset) == split.validation
    assert choose_part("all", {})(dataset) == dataset.pictures
    with pytest.raises(DataError, match="not the data"):
        choose_part("holdout", training)(Dataset(pictures=dataset.pictures[1:]))
    with pytest.raises(UsageError, match="held no source"):
        choose_part("holdout", {**training, "holdout_sources": [], "holdout_generators": []})
    with pytest.raises(UsageError, match="does not say"):
        choose_part("validation", {})


def test_a_part_of_one_class_is_refused(data: Path, repository: Path, tmp_path: Path) -> None:
    options = EvaluationOptions(
        root=data, choose=lambda found: [one for one in found.pictures if one.label], part="holdout"
    )
    with pytest.raises(DataError, match="labelled real"):
        run_evaluation(OnnxScorer(repository / "classifier"), options, tmp_path, Notes(), lambda line: None)


def test_the_command_reports_and_refuses(data: Path, repository: Path, tmp_path: Path) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)
    register(app)
    options = ["--output", str(tmp_path / "out"), "--no-tracking", "--evidence-trials", "0", "--max-per-class", "4"]
    result = CliRunner().invoke(app, [str(repository / "classifier"), str(data), *options])
    assert result.exit_code == 0, result.output
    assert "clean: auroc" in result.output
    assert (tmp_path / "out" / "evaluation.html").is_file()
    for arguments in (["nothing.pt", str(data)], [str(repository / "classifier"), str(data), "--part", "holdout"]):
        assert isinstance(CliRunner().invoke(app, arguments).exception, UsageError)
