"""A network small enough to export in a second, with the shapes of the real one, and findings to go with it."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path

import onnx
import torch
from torch import nn

from veriphoto.contract import CONTRACT
from veriphoto.manifest import Calibration, DriftReference, Findings, Lineage
from veriphoto.variants import VARIANTS_FILE
from veriphoto.verdict import OperatingPoint
from veriphoto_export.graph import ClassifierGraph, export_onnx
from veriphoto_release.bundle import ModelBundle
from veriphoto_release.publish import publish

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "model_repository"
SAMPLES = sorted(path for path in (ROOT / "samples").iterdir() if path.suffix in {".jpg", ".png", ".webp"})


def copy_repository(target: Path) -> Path:
    """Copies the model repository as a fresh clone without its graph has it."""
    of_the_graph = shutil.ignore_patterns("*.onnx", "manifest.json", VARIANTS_FILE, "__pycache__")
    shutil.copytree(REPOSITORY, target, ignore=of_the_graph)
    for version in (target / "classifier").iterdir():
        if version.name.isdigit() and version.name != "1":
            shutil.rmtree(version)
    return target


def publish_toy(repository: Path, version: int) -> Path:
    """Publishes a toy network with the version as its seed."""
    return publish(toy_bundle(version), repository, version)


def toy_bundle(seed: int) -> ModelBundle:
    model, bias = toy_graph(seed)
    return ModelBundle(graph=model, findings=toy_findings(), evidence_bias=bias)


@cache
def toy_graph(seed: int) -> tuple[onnx.ModelProto, float]:
    """Exports a toy network; returns its evidence bias too. Exporting takes seconds: once for each seed."""
    graph = ClassifierGraph(ToyNetwork(seed=seed), toy_findings().calibration)
    kept = os.environ.get(f"TOY_GRAPH_{seed}")  # from the process before
    return onnx.load(kept) if kept else export_onnx(graph), graph.evidence_bias


class ToyNetwork(nn.Module):
    """One convolution of stride 32, as many positions as EfficientNet-B0 ends with."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        stride = CONTRACT.crop_size // CONTRACT.grid
        self.stem = nn.Conv2d(3, 8, stride, stride)
        self.classifier = nn.Linear(8, 1)
        for weights in self.parameters():
            nn.init.normal_(weights, std=0.05 if weights.dim() == 4 else 1.0, generator=generator)
        self.eval()

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.stem(pixels))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.forward_features(pixels).mean(dim=(2, 3)))


def toy_findings() -> Findings:
    return Findings(
        calibration=Calibration(temperature=1.7, bias=-0.3),
        operating_point=OperatingPoint(
            model_version=0, threshold=0.61, unsure_low=0.4, unsure_high=0.7, min_side=96.0, max_blockiness=2.5
        ),
        metrics={"auroc": 0.9},
        drift_reference=DriftReference(
            score_edges=[0.0, 0.5, 1.0],
            score_counts=[3, 4],
            quantile_levels=[0.5],
            statistics={name: [1.0] for name in CONTRACT.statistics},
        ),
        lineage=Lineage(run_id="toy", recipe="toy", seed=0, data_fingerprint="0" * 64, weights="none"),
    )
