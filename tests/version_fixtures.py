"""Fixtures of a toy version: its graph, its repository, and a ground on which it can be promoted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from promotion_kit import Ground, prepare
from repository_server import RepositoryServer
from toy_model import SAMPLES, ToyNetwork, copy_repository, toy_findings

from veriphoto.manifest import Findings
from veriphoto_export.graph import ClassifierGraph, export_onnx
from veriphoto_export.parity import Crops, load_crops


@pytest.fixture(scope="session")
def network() -> ToyNetwork:
    return ToyNetwork()


@pytest.fixture(scope="session")
def findings() -> Findings:
    return toy_findings()


@pytest.fixture(scope="session")
def graph(network: ToyNetwork, findings: Findings) -> ClassifierGraph:
    return ClassifierGraph(network, findings.calibration)


@pytest.fixture(scope="session")
def model(graph: ClassifierGraph) -> onnx.ModelProto:
    return export_onnx(graph)


@pytest.fixture(scope="session")
def crops() -> Crops:
    return load_crops(SAMPLES)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository without a graph; its path has a space."""
    return copy_repository(tmp_path / "model repository")


@pytest.fixture
def noise() -> Crops:
    return np.random.default_rng(0).integers(0, 256, (3, 1, 224, 224, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """Version 1 served by model 1, model 2 challenger. Copied for each test: a new MLflow store takes seconds."""
    return prepare(tmp_path_factory.mktemp("promotion") / "ground")


@pytest.fixture
def ground(prepared: Ground, tmp_path: Path) -> Ground:
    return prepared.copy(tmp_path / "a ground")


@pytest.fixture
def server(ground: Ground) -> Iterator[RepositoryServer]:
    with RepositoryServer(ground.repository).run() as running:
        yield running
