"""Scores of published versions and of checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from brightness_model import draw

from veriphoto.errors import ChecksumError, ManifestError
from veriphoto.manifest import FINDINGS_FILE, ONNX_FILE, Calibration, Findings
from veriphoto.preprocessing import preprocess
from veriphoto_training.data.dataset import Picture
from veriphoto_training.network.model import build_network, save_checkpoint
from veriphoto_training.scoring.logits import score_pictures
from veriphoto_training.scoring.scorers import CheckpointScorer, OnnxScorer


def _picture(folder: Path, name: str, data: bytes) -> Picture:
    (folder / name).write_bytes(data)
    return Picture(path=name, label=0, source="s", group=name, file=folder / name)


def test_a_published_version_scores_in_order_and_names_what_it_cannot(repository: Path, tmp_path: Path) -> None:
    levels = [60, 200, 128, 90, 240, 30, 150, 170, 100, 110]
    pictures = [_picture(tmp_path, f"{i}.png", draw(i, level=level, kind="PNG")) for i, level in enumerate(levels)]
    pictures.insert(3, _picture(tmp_path, "cut.png", draw(1, kind="PNG")[:500]))
    scorer = OnnxScorer(repository / "classifier")
    scores = score_pictures(scorer.logits, pictures)
    expected = [(preprocess(one.data).crops.mean() - 128) / 16 for one in pictures if one.path != "cut.png"]
    assert scores.logits == pytest.approx(expected, abs=1e-3)
    assert list(scores.failed) == ["cut.png"]
    crops = preprocess(pictures[0].data).crops[None]
    assert scorer.evidence(crops).shape == (1, 1, 7, 7)
    assert scorer.evidence(crops).mean() + scorer.manifest.evidence_bias == pytest.approx(
        scorer.logits(crops)[0], abs=1e-3
    )


def test_a_changed_graph_is_refused(repository: Path) -> None:
    with (repository / "classifier" / "1" / ONNX_FILE).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ChecksumError):
        OnnxScorer(repository / "classifier")


@pytest.mark.parametrize(
    "recipe", [{"whole_picture": False, "crop_size": 160}, {"whole_picture": True, "crop_size": 96}]
)
def test_the_evidence_of_a_checkpoint_adds_up_to_its_logit(
    tmp_path: Path, findings: Findings, recipe: dict[str, object]
) -> None:
    torch.manual_seed(0)
    network = build_network().eval()
    calibration = Calibration(temperature=0.5, bias=0.3)
    save_checkpoint(tmp_path / "best.pt", network.state_dict(), {"run_id": "r", "recipe": recipe})
    with pytest.raises(ManifestError):
        CheckpointScorer(tmp_path / "best.pt")
    replace(findings, calibration=calibration).write(tmp_path / FINDINGS_FILE)
    scorer = CheckpointScorer(tmp_path / "best.pt")
    crops = preprocess(draw(4, size=(260, 240))).crops[None]
    bias = network.classifier.bias.item() / calibration.temperature + calibration.bias  # type: ignore[operator,union-attr]
    assert scorer.evidence(crops).mean() + bias == pytest.approx(scorer.logits(crops)[0], abs=1e-4)
